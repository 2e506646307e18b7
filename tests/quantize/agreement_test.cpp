// SPDX-License-Identifier: Apache-2.0
// Hazard: figures that a device is held to, and that the CPU itself no longer has.
#include "quantize/agreement.hpp"

namespace billfish::quantize {
namespace {

using namespace test;

TEST(Agreement, the_cpu_has_the_errors_that_devices_are_held_to) {
  for (const AgreementCase& job : agreement_cases()) {
    const AgreementData data = agreement_data(job);
    const Result result = quantized(options_of(job), data.weights, job.n, job.k, moments(data.h));
    ASSERT_TRUE(result.status.ok()) << job.name << ": " << result.status.message();
    // Another processor's products round differently; a few codes fall the other way. The figures are an EPYC's; a Xeon's are up to 0.0026
    // off, always the same.
    EXPECT_NEAR(result.parts.output_error / job.output_error, 1.0, 0.005) << job.name << ": " << result.parts.output_error;
  }
}

}  // namespace
}  // namespace billfish::quantize
