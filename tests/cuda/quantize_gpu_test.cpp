// SPDX-License-Identifier: Apache-2.0
// Hazards of quantising on a device: rounding that is not the CPU's, errors that are larger, columns taken in another order, parts of rows
// that lie behind the last, bytes that change from run to run or with another thread at work, a missing device that is not told of.
#include <cstdlib>
#include <memory>
#include <thread>

#include "cuda/quantize/engine.hpp"
#include "quantize/agreement.hpp"
#include "quantize/linear_algebra.hpp"

namespace billfish::quantize {
namespace {

using namespace test;

std::unique_ptr<Engine> device() {
  billfish::Result<std::unique_ptr<Engine>> made = cuda::quantize_engine(0);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? std::move(*made) : nullptr;
}

double share_of_equal_codes(const test::Result& a, const test::Result& b) {
  std::int64_t equal = 0;
  for (std::int64_t i = 0; i < a.n * a.k; ++i) equal += a.codes[i] == b.codes[i] ? 1 : 0;
  return static_cast<double>(equal) / static_cast<double>(a.n * a.k);
}

TEST(QuantizeOnDevice, rounds_to_nearest_with_the_bits_of_the_cpu) {
  const std::unique_ptr<Engine> engine = device();
  ASSERT_NE(engine, nullptr);
  for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
    for (const ElementType scale_type : {ElementType::f16, ElementType::bf16, ElementType::f32}) {
      for (const bool clip : {false, true}) {
        for (const std::int64_t group : {128, 48, 1, 300}) {
          const std::int64_t n = 77, k = 300;
          const std::vector<float> weights = normal(n * k, 3e-3f, 5);
          Options options = options_of(Method::nearest, type, group, clip);
          options.scale_type = scale_type;
          const test::Result expected = quantized(options, weights, n, k);
          options.engine = engine.get();
          const test::Result found = quantized(options, weights, n, k);
          ASSERT_TRUE(found.status.ok()) << found.status.message();
          EXPECT_TRUE(found.same_bytes(expected))
              << name_of(type) << ", " << name_of(scale_type) << ", clip " << clip << ", group " << group;
          EXPECT_EQ(found.parts.clipped_groups, expected.parts.clipped_groups);
          EXPECT_NEAR(found.parts.weight_error / expected.parts.weight_error, 1.0, 1e-6);
        }
      }
    }
  }
}

TEST(QuantizeOnDevice, has_the_errors_of_the_cpu) {
  const bool can_compare = LinearAlgebra::get().ok();
  for (const AgreementCase& job : agreement_cases()) {
    const AgreementData data = agreement_data(job);
    const std::unique_ptr<Engine> engine = device();
    ASSERT_NE(engine, nullptr);
    Options options = options_of(job);
    options.engine = engine.get();
    const test::Result found = quantized(options, data.weights, job.n, job.k, moments(data.h));
    ASSERT_TRUE(found.status.ok()) << job.name << ": " << found.status.message();
    EXPECT_NEAR(found.parts.output_error / job.output_error, 1.0, 0.01) << job.name << ": " << found.parts.output_error;
    const test::Result again = quantized(options, data.weights, job.n, job.k, moments(data.h));
    EXPECT_TRUE(found.same_bytes(again)) << job.name;
    EXPECT_EQ(found.parts.output_error, again.parts.output_error) << job.name;
    if (!can_compare) continue;
    options.engine = nullptr;
    const test::Result expected = quantized(options, data.weights, job.n, job.k, moments(data.h));
    // A tie that falls the other way takes the rest of its row along.
    EXPECT_GE(share_of_equal_codes(found, expected), 0.9) << job.name;
    EXPECT_EQ(found.parts.damping, expected.parts.damping) << job.name;
  }
}

TEST(QuantizeOnDevice, sums_up_the_moments_of_any_tokens) {
  const std::unique_ptr<Engine> engine = device();
  ASSERT_NE(engine, nullptr);
  const std::int64_t tokens = 90, k = 67, ld = 71;
  for (const ElementType type : {ElementType::f32, ElementType::f16, ElementType::bf16}) {
    const std::vector<float> values = normal(tokens * ld, 1.0f, 31);
    std::vector<unsigned char> raw(static_cast<std::size_t>(tokens * ld * bytes_of(type)));
    for (std::int64_t i = 0; i < tokens * ld; ++i) store_element(raw.data(), type, i, values[static_cast<std::size_t>(i)]);
    std::vector<float> h(static_cast<std::size_t>(k * k), std::nanf(""));
    std::int64_t count = 0;
    for (const std::int64_t first : {0, 40}) {  // two calls: the second one adds
      const std::int64_t here = first == 0 ? 40 : tokens - 40;
      const Status status = hessian_add(raw.data() + first * ld * bytes_of(type), type, here, k, ld, h.data(), count, {}, engine.get());
      ASSERT_TRUE(status.ok()) << status.message();
    }
    EXPECT_EQ(count, tokens);
    for (std::int64_t i = 0; i < k; ++i) {
      for (std::int64_t j = 0; j < k; ++j) {
        double sum = 0, size = 0;
        for (std::int64_t t = 0; t < tokens; ++t) {
          const double a = load_element(raw.data(), type, t * ld + i), b = load_element(raw.data(), type, t * ld + j);
          sum += a * b;
          size += std::abs(a * b);
        }
        // f32 without TF32: a rounding an addition, three of the factors around it.
        ASSERT_NEAR(h[static_cast<std::size_t>(i * k + j)], 2.0 * sum / static_cast<double>(tokens),
                    2.0 * size / static_cast<double>(tokens) * static_cast<double>(tokens + 3) * 0x1p-24)
            << i << ", " << j;
        ASSERT_EQ(h[static_cast<std::size_t>(i * k + j)], h[static_cast<std::size_t>(j * k + i)]);
      }
    }
  }
}

TEST(QuantizeOnDevice, takes_samples_rows_apart_and_dead_inputs) {
  const std::unique_ptr<Engine> engine = device();
  ASSERT_NE(engine, nullptr);
  const std::int64_t n = 45, k = 160, ld = 173, tokens = 250;
  std::vector<float> x = correlated_samples(tokens, k, 41);
  for (std::int64_t t = 0; t < tokens; ++t) x[static_cast<std::size_t>(t * k + 9)] = 0.0f;
  const std::vector<float> weights = normal(n * ld, 0.1f, 42);
  Options options = options_of(Method::gptq, WeightType::u4b8, 32);
  options.engine = engine.get();
  test::Result result(options, n, k);
  result.status = quantize_matrix(options, {weights.data(), n, k, ld}, test::tokens(x, k), result.parts);
  ASSERT_TRUE(result.status.ok()) << result.status.message();
  EXPECT_TRUE(result.intact());
  EXPECT_EQ(result.parts.dead_columns, 1);
  EXPECT_LT(result.parts.output_error, 0.7 * result.parts.nearest_output_error);
  double missed = 0, whole = 0;  // what is reported is what the codes do
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t r = 0; r < n; ++r) {
      double y = 0, off = 0;
      for (std::int64_t c = 0; c < k; ++c) {
        const double w = weights[static_cast<std::size_t>(r * ld + c)], in = x[static_cast<std::size_t>(t * k + c)];
        y += w * in;
        off += (w - result.value(r, c)) * in;
      }
      whole += y * y;
      missed += off * off;
    }
  }
  EXPECT_NEAR(result.parts.output_error / std::sqrt(missed / whole), 1.0, 1e-3);
}

TEST(QuantizeOnDevice, two_threads_do_not_disturb_each_other) {
  const AgreementCase& job = agreement_cases()[5];
  const AgreementData data = agreement_data(job);
  std::vector<test::Result> results;
  for (int i = 0; i < 3; ++i) results.emplace_back(options_of(job), job.n, job.k);
  const auto work = [&](test::Result& result) {
    const std::unique_ptr<Engine> engine = device();
    Options options = options_of(job);
    options.engine = engine.get();
    if (engine != nullptr) result.status = quantize_matrix(options, view(data.weights, job.n, job.k), moments(data.h), result.parts);
  };
  std::thread other([&] { work(results[1]); });
  work(results[2]);
  other.join();
  work(results[0]);
  for (const test::Result& result : results) {
    EXPECT_TRUE(result.status.ok()) << result.status.message();
    EXPECT_TRUE(result.same_bytes(results[0]));
  }
}

TEST(QuantizeOnDevice, names_what_is_not_there) {
  const Status status = cuda::quantize_engine(63).status();
  EXPECT_EQ(status.code(), Code::device_error);
  EXPECT_NE(status.message().find("device index is 63"), std::string::npos) << status.message();
  std::vector<float> h = {1.0f, 9.0f, 9.0f, 1.0f}, weights = {1.0f, 2.0f};  // no second moments have that: damping makes up for it
  const std::unique_ptr<Engine> engine = device();
  ASSERT_NE(engine, nullptr);
  Options options = options_of(Method::gptq, WeightType::u4b8, 2);
  options.engine = engine.get();
  const test::Result result = quantized(options, weights, 1, 2, moments(h));
  ASSERT_TRUE(result.status.ok()) << result.status.message();
  EXPECT_NEAR(result.parts.damping, 10.0, 1e-9);
}

}  // namespace
}  // namespace billfish::quantize
