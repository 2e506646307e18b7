// SPDX-License-Identifier: Apache-2.0
// Hazards of samples and errors: sums that depend on how tokens were handed over, half a matrix, types read wrong, errors other than
// those of the definition, a machine without LAPACK.
#include <cstdlib>

#include "quantize/errors.hpp"
#include "quantize/linear_algebra.hpp"
#include "quantize/reference.hpp"

namespace billfish::quantize {
namespace {

using namespace test;

TEST(Hessian, is_twice_the_mean_of_x_x_transposed_however_tokens_come) {
  const std::int64_t tokens = 700, k = 270, ld = 281;  // two chunks of tokens, two tiles of columns, a gap behind every row
  const std::vector<float> x = normal(tokens * ld, 1.0f, 1);
  for (const ElementType type : {ElementType::f32, ElementType::f16, ElementType::bf16}) {
    std::vector<std::uint8_t> raw(x.size() * static_cast<std::size_t>(bytes_of(type)));
    for (std::size_t i = 0; i < x.size(); ++i) store_element(raw.data(), type, static_cast<std::int64_t>(i), x[i]);
    Guarded<float> h(k * k);  // not set: the first call must not read it
    std::int64_t count = 0;
    const std::int64_t cuts[] = {0, 1, 400, tokens};
    for (int part = 0; part < 3; ++part) {
      const std::int64_t first = cuts[part];
      const Status status = hessian_add(raw.data() + first * ld * bytes_of(type), type, cuts[part + 1] - first, k, ld, h.get(), count, {});
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_EQ(count, cuts[part + 1]);
    }
    EXPECT_TRUE(h.guards_intact());
    for (std::int64_t i = 0; i < k; i += 13) {
      for (std::int64_t j = 0; j < k; j += 3) {
        double sum = 0, size = 0;
        for (std::int64_t t = 0; t < tokens; ++t) {
          const double product =
              static_cast<double>(load_element(raw.data(), type, t * ld + i)) * load_element(raw.data(), type, t * ld + j);
          sum += product;
          size += std::fabs(product);
        }
        ASSERT_NEAR(h[i * k + j], 2 * sum / tokens, 2 * size / tokens * 64 * 0x1p-24) << i << ", " << j;
        ASSERT_EQ(h[i * k + j], h[j * k + i]);
      }
    }
  }
}

TEST(Hessian, threads_change_no_bit) {
  const std::int64_t tokens = 600, k = 530;
  const std::vector<float> x = normal(tokens * k, 1.0f, 2);
  std::vector<float> alone(static_cast<std::size_t>(k * k)), together(alone);
  std::int64_t count = 0;
  ASSERT_TRUE(hessian_add(x.data(), ElementType::f32, tokens, k, k, alone.data(), count, {}).ok());
  for (const int threads : {2, 5}) {
    ThreadPool pool(threads);
    Parallel parallel;
    parallel.pool = &pool;
    count = 0;
    ASSERT_TRUE(hessian_add(x.data(), ElementType::f32, tokens, k, k, together.data(), count, parallel).ok());
    EXPECT_EQ(alone, together) << threads;
  }
}

TEST(Hessian, samples_that_are_no_numbers_are_named_and_leave_it_as_it_was) {
  const std::int64_t tokens = 40, k = 24;
  std::vector<float> x = normal(tokens * k, 1.0f, 3), h(static_cast<std::size_t>(k * k), 7.0f);
  const std::vector<float> before = h;
  const auto message = [&](float value, std::int64_t token, std::int64_t input, ElementType type = ElementType::f32) {
    std::vector<float> bad(x);
    bad[static_cast<std::size_t>(token * k + input)] = value;
    bad[static_cast<std::size_t>((tokens - 1) * k)] = value;  // the first one is named
    std::vector<std::uint8_t> raw(bad.size() * static_cast<std::size_t>(bytes_of(type)));
    for (std::size_t i = 0; i < bad.size(); ++i) store_element(raw.data(), type, static_cast<std::int64_t>(i), bad[i]);
    std::int64_t count = 3;
    const Status status = hessian_add(raw.data(), type, tokens, k, k, h.data(), count, {});
    EXPECT_EQ(status.code(), Code::bad_input);
    EXPECT_EQ(count, 3);
    EXPECT_EQ(h, before);
    return status.message();
  };
  EXPECT_EQ(message(NAN, 17, 5), "sample 17, input 5 is not finite");
  EXPECT_EQ(message(-INFINITY, 0, 0), "sample 0, input 0 is not finite");
  EXPECT_EQ(message(1e18f, 33, 23), "sample 33, input 23 is beyond 1e17: sums of its square leave f32");
  EXPECT_EQ(message(INFINITY, 20, 1, ElementType::f16), "sample 20, input 1 is not finite");
  EXPECT_EQ(message(NAN, 20, 2, ElementType::bf16), "sample 20, input 2 is not finite");
  h[5] = NAN;
  std::int64_t count = 3;
  EXPECT_EQ(hessian_add(x.data(), ElementType::f32, tokens, k, k, h.data(), count, {}).message(), "hessian[0, 5] is not finite");
}

TEST(Errors, are_those_of_the_definition_from_moments_and_from_samples) {
  const std::int64_t n = 150, k = 300;
  const std::vector<float> weights = normal(n * k, 1.0f, 4);
  for (const std::int64_t count : {50, 290}) {  // few tokens are multiplied by themselves, many become moments
    const std::vector<float> x = correlated_samples(count, k, 5);
    std::vector<float> h(static_cast<std::size_t>(k * k));
    std::int64_t seen = 0;
    ASSERT_TRUE(hessian_add(x.data(), ElementType::f32, count, k, k, h.data(), seen, {}).ok());
    for (const WeightType type : {WeightType::u4b8, WeightType::u8}) {
      Options options = options_of(Method::nearest, type, 128);
      Result by_tokens = quantized(options, weights, n, k, tokens(x, k));
      Result by_moments = quantized(options, weights, n, k, moments(h));
      const double expected = output_error(weights, by_tokens, h);
      EXPECT_NEAR(by_tokens.parts.output_error / expected, 1.0, 1e-4) << count;
      EXPECT_NEAR(by_moments.parts.output_error / expected, 1.0, 1e-4) << count;
      EXPECT_EQ(by_tokens.parts.weight_error, by_moments.parts.weight_error);
      double lost = 0, whole = 0;
      for (std::int64_t r = 0; r < n; ++r) {
        for (std::int64_t c = 0; c < k; ++c) {
          const double weight = weights[static_cast<std::size_t>(r * k + c)];
          whole += weight * weight;
          lost += std::pow(weight - by_tokens.value(r, c), 2);
        }
      }
      EXPECT_NEAR(by_tokens.parts.weight_error / std::sqrt(lost / whole), 1.0, 1e-5);
    }
  }
}

TEST(LinearAlgebra, each_function_does_what_its_name_says_on_row_major_matrices) {
  const auto found = LinearAlgebra::get();
  ASSERT_TRUE(found.ok()) << found.status().message();
  const LinearAlgebra& algebra = *found.value();
  using Op = LinearAlgebra::Op;
  constexpr std::int64_t m = 3, n = 4, k = 5, ld = 7;
  const std::vector<float> a = normal(k * ld, 1.0f, 6), b = normal(k * ld, 1.0f, 7), start = normal(k * ld, 1.0f, 8);
  for (const Op op_a : {Op::plain, Op::transposed}) {
    for (const Op op_b : {Op::plain, Op::transposed}) {
      std::vector<float> c(start);
      algebra.multiply(op_a, op_b, m, n, k, 2.0f, a.data(), ld, b.data(), ld, 0.5f, c.data(), ld);
      for (std::int64_t i = 0; i < k; ++i) {
        for (std::int64_t j = 0; j < ld; ++j) {
          double expected = start[static_cast<std::size_t>(i * ld + j)];
          if (i < m && j < n) expected *= 0.5;
          for (std::int64_t l = 0; l < k && i < m && j < n; ++l) {
            expected += 2.0 * a[static_cast<std::size_t>(op_a == Op::plain ? i * ld + l : l * ld + i)] *
                        b[static_cast<std::size_t>(op_b == Op::plain ? l * ld + j : j * ld + l)];
          }
          ASSERT_NEAR(c[static_cast<std::size_t>(i * ld + j)], expected, 1e-5);
        }
      }
    }
  }
  const LinearAlgebra::OneThread alone(algebra);
  std::vector<float> square(static_cast<std::size_t>(k * ld), 0.0f);
  algebra.multiply_by_own_transpose(Op::plain, k, ld, 1.0f, a.data(), ld, 0.0f, square.data(), ld);  // lower triangle of a a^T
  EXPECT_EQ(square[1], 0.0f);
  std::vector<float> lower(square);
  ASSERT_EQ(algebra.factor_lower(k, lower.data(), ld), 0);
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (std::int64_t l = 0; l <= j; ++l)
        sum += lower[static_cast<std::size_t>(i * ld + l)] * lower[static_cast<std::size_t>(j * ld + l)];
      ASSERT_NEAR(square[static_cast<std::size_t>(i * ld + j)], sum, 1e-4);
    }
  }
  std::vector<float> x(b);
  algebra.solve_lower_transposed(m, k, lower.data(), ld, x.data(), ld);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < k; ++j) {
      double sum = 0;
      for (std::int64_t l = 0; l <= j; ++l) sum += x[static_cast<std::size_t>(i * ld + l)] * lower[static_cast<std::size_t>(j * ld + l)];
      ASSERT_NEAR(sum, b[static_cast<std::size_t>(i * ld + j)], 1e-4);
    }
  }
  x = b;
  algebra.solve_unit_upper_transposed(k, n, a.data(), ld, x.data(), ld);
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = x[static_cast<std::size_t>(i * ld + j)];
      for (std::int64_t l = 0; l < i; ++l) sum += a[static_cast<std::size_t>(l * ld + i)] * x[static_cast<std::size_t>(l * ld + j)];
      ASSERT_NEAR(sum, b[static_cast<std::size_t>(i * ld + j)], 1e-4);
    }
  }
  square[static_cast<std::size_t>(2 * ld + 2)] = -1.0f;
  EXPECT_EQ(algebra.factor_lower(k, square.data(), ld), 3);
}

// Another LAPACK than OpenBLAS may be slow, but is right. Both are looked up by file, as a machine without OpenBLAS would.
TEST(LinearAlgebra, without_one_only_round_to_nearest_is_left_and_says_what_to_install) {
  EXPECT_EQ(LinearAlgebra::load("libbillfish_is_no_lapack.so").status().message(), "libbillfish_is_no_lapack.so cannot be loaded");
  EXPECT_EQ(LinearAlgebra::load("libm.so.6").status().message(), "libm.so.6 lacks sgemm_, ssyrk_, strsm_ or spotrf_");

  const std::int64_t n = 8, k = 32;
  const std::vector<float> weights = normal(n * k, 1.0f, 9), x = normal(40 * k, 1.0f, 10);
  const Result with = quantized(options_of(Method::nearest, WeightType::u4b8, 16), weights, n, k, tokens(x, k));
  ASSERT_EQ(setenv("BILLFISH_LAPACK", "libbillfish_is_no_lapack.so", 1), 0);
  const Result without = quantized(options_of(Method::nearest, WeightType::u4b8, 16), weights, n, k, tokens(x, k));
  Result clipped = quantized(options_of(Method::nearest, WeightType::u4b8, 16, true), weights, n, k, tokens(x, k));
  Quantized parts = without.parts;
  const Status gptq = quantize_matrix(options_of(Method::gptq, WeightType::u4b8, 16), view(weights, n, k), tokens(x, k), parts);
  std::vector<float> h(static_cast<std::size_t>(k * k));
  std::int64_t count = 0;
  const Status add = hessian_add(x.data(), ElementType::f32, 40, k, k, h.data(), count, {});
  ASSERT_EQ(unsetenv("BILLFISH_LAPACK"), 0);

  ASSERT_TRUE(without.status.ok()) << without.status.message();
  EXPECT_TRUE(with.same_bytes(without));
  EXPECT_TRUE(clipped.status.ok()) << clipped.status.message();
  EXPECT_GT(clipped.parts.clipped_groups, 0);
  EXPECT_GT(with.parts.output_error, 0.0);
  EXPECT_EQ(without.parts.output_error, -1.0);
  EXPECT_EQ(without.parts.weight_error, with.parts.weight_error);
  for (const Status& status : {gptq, add}) {
    EXPECT_EQ(status.code(), Code::unsupported);
    for (const char* part : {"libopenblas0-pthread", "BILLFISH_LAPACK", "libbillfish_is_no_lapack.so cannot be loaded"}) {
      EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
    }
  }
}

}  // namespace
}  // namespace billfish::quantize
