// SPDX-License-Identifier: Apache-2.0
// The driver's management library (NVML), looked up at run time: clock, power, use and the reasons for a lowered clock. Plain C++, no
// link-time need. Called by api/ through cuda::telemetry.
#pragma once

#include <cstdint>

#include "measure/cuda_measure.hpp"

namespace billfish::measure {

// `bus_id` as the runtime spells it ("0000:1B:00.0"). All zero where the library or the device is not to be had.
cuda::Telemetry nvml_telemetry(const char* bus_id);

}  // namespace billfish::measure
