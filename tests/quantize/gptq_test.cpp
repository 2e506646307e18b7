// SPDX-License-Identifier: Apache-2.0
// Hazards of GPTQ: feedback that goes the wrong way or into a wrong column, scales of stale weights, groups wider or narrower than a block,
// orders that lose a column, a factor of a singular matrix, results that depend on threads.
#include "quantize/cpu_engine.hpp"
#include "quantize/factor.hpp"
#include "quantize/reference.hpp"

namespace billfish::quantize {
namespace {

using namespace test;

std::vector<float> hessian(const std::vector<float>& x, std::int64_t k) {
  std::vector<float> h(static_cast<std::size_t>(k * k));
  std::int64_t count = 0;
  const Status status = hessian_add(x.data(), ElementType::f32, static_cast<std::int64_t>(x.size()) / k, k, k, h.data(), count, {});
  EXPECT_TRUE(status.ok()) << status.message();
  return h;
}

TEST(Gptq, agrees_with_the_inverse_cholesky_form_in_f64) {
  const std::int64_t n = 48, k = 208;
  const std::vector<float> weights = normal(n * k, 0.05f, 1);
  const std::vector<float> h = hessian(correlated_samples(2 * k, k, 2), k);
  const Square u = upper_of_inverse(damped(h, k, 0.01), k);
  for (const std::int64_t group : {16, 48, 64, 128, 208}) {  // narrower than a block, not dividing it, a block, wider
    for (const WeightType type : {WeightType::u4b8, WeightType::u8b128}) {
      Options options = options_of(Method::gptq, type, group);
      options.rounds = 0;
      Result result = quantized(options, weights, n, k, moments(h));
      Result expected(options, n, k);
      ASSERT_TRUE(result.status.ok()) << result.status.message();
      int same_rows = 0;
      for (std::int64_t r = 0; r < n; ++r) {
        const Line line = gptq_line(options, {weights.begin() + r * k, weights.begin() + (r + 1) * k}, u);
        bool same = true;
        for (std::int64_t c = 0; c < k; ++c) {
          same = same && line.codes[static_cast<std::size_t>(c)] == result.code(r, c) &&
                 line.scales[static_cast<std::size_t>(c / group)] == result.scale(r, c);
          expected.codes.get()[c * n + r] = static_cast<std::uint8_t>(line.codes[static_cast<std::size_t>(c)]);
          store_element(expected.scales.get(), options.scale_type, c / group * n + r,
                        static_cast<float>(line.scales[static_cast<std::size_t>(c / group)]));
        }
        same_rows += same ? 1 : 0;
      }
      // f32 against f64 differs by some 1e-6 of a weight: a value that close to the middle of two codes (or a scale to the middle of two
      // f16) falls either way, and all that follows in its row with it. 4 bits: one value in 1e5; 8 bits, 16 times as many.
      EXPECT_GE(same_rows, type == WeightType::u4b8 ? n - 3 : n - 16) << "group " << group;
      const double ours = output_error(weights, result, h), theirs = output_error(weights, expected, h);
      EXPECT_NEAR(ours / theirs, 1.0, 0.005) << "group " << group;
      EXPECT_NEAR(result.parts.output_error / ours, 1.0, 1e-4);
    }
  }
}

// Grids that clamp nothing: 8 bits over normal weights. Then errors are alike in every column, RTN costs their square times tr(H), GPTQ
// times tr(D).
TEST(Gptq, gains_on_correlated_inputs_what_the_pivots_promise) {
  const std::int64_t n = 96, k = 256;
  const std::vector<float> h = autoregressive(k, 0.9), weights = normal(n * k, 1.0f, 3);
  double pivots = 0;
  const Square u = upper_of_inverse(damped(h, k, 1e-4), k);
  for (std::int64_t i = 0; i < k; ++i) pivots += 1.0 / (u[static_cast<std::size_t>(i * k + i)] * u[static_cast<std::size_t>(i * k + i)]);
  const double promised = pivots / static_cast<double>(k);  // tr(H) is k
  EXPECT_NEAR(promised, 0.19, 0.02);
  for (const ActOrder order : {ActOrder::none, ActOrder::by_group, ActOrder::fixed}) {
    Options options = options_of(Method::gptq, WeightType::u8b128, 64);
    options.act_order = order;
    options.damping = 1e-4;
    options.scale_type = ElementType::f32;
    Result result = quantized(options, weights, n, k, moments(h));
    ASSERT_TRUE(result.status.ok()) << result.status.message();
    const double ratio = std::pow(result.parts.output_error / result.parts.nearest_output_error, 2);
    EXPECT_NEAR(ratio / promised, 1.0, 0.1) << static_cast<int>(order);
  }
}

TEST(Gptq, is_round_to_nearest_on_white_inputs) {
  const std::int64_t n = 70, k = 160;
  const std::vector<float> weights = normal(n * k, 1.0f, 4), h = autoregressive(k, 0.0);
  for (const ActOrder order : {ActOrder::none, ActOrder::fixed, ActOrder::by_group}) {
    for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
      Options options = options_of(Method::gptq, type, 32);
      options.act_order = order;
      Result result = quantized(options, weights, n, k, moments(h));
      ASSERT_TRUE(result.status.ok()) << result.status.message();
      EXPECT_NEAR(result.parts.output_error / result.parts.nearest_output_error, 1.0, 1e-6);
      EXPECT_NEAR(result.parts.weight_error, result.parts.output_error, 1e-6);
    }
  }
}

TEST(Gptq, is_never_worse_than_round_to_nearest_and_clipping_never_costs) {
  const std::int64_t n = 64, k = 144;
  for (const std::uint64_t seed : {10, 20, 30}) {
    std::vector<float> weights = normal(n * k, 1.0f, seed);
    for (std::size_t i = 0; i < weights.size(); i += 53) weights[i] *= 5;
    const std::vector<float> samples = correlated_samples(seed == 20 ? 50 : 400, k, seed + 1);  // 50: H is singular
    for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
      for (const std::int64_t group : {32, 144}) {
        for (const ActOrder order : {ActOrder::none, ActOrder::fixed, ActOrder::by_group}) {
          Options options = options_of(Method::gptq, type, group);
          options.act_order = order;
          Result plain = quantized(options, weights, n, k, tokens(samples, k));
          options.clip = true;
          Result clipped = quantized(options, weights, n, k, tokens(samples, k));
          ASSERT_TRUE(plain.status.ok() && clipped.status.ok()) << plain.status.message();
          EXPECT_LE(std::pow(plain.parts.output_error / plain.parts.nearest_output_error, 2), 1.02);
          EXPECT_LE(clipped.parts.output_error, plain.parts.output_error * 1.0001);  // sums in f32
          EXPECT_EQ(plain.parts.clipped_groups, 0);
          if (bits_of(type) == 4) EXPECT_GT(clipped.parts.clipped_groups, 0);
        }
      }
    }
  }
}

TEST(Gptq, orders_help_where_inputs_differ_in_size) {
  const std::int64_t n = 96, k = 256;
  const std::vector<float> weights = normal(n * k, 1.0f, 5), x = correlated_samples(3 * k, k, 6);
  double errors[3] = {};
  for (const ActOrder order : {ActOrder::none, ActOrder::fixed, ActOrder::by_group}) {
    Options options = options_of(Method::gptq, WeightType::u4b8, 64);
    options.act_order = order;
    errors[static_cast<int>(order)] = quantized(options, weights, n, k, tokens(x, k)).parts.output_error;
  }
  EXPECT_LT(errors[static_cast<int>(ActOrder::by_group)], errors[0]);
  EXPECT_LT(errors[static_cast<int>(ActOrder::fixed)], errors[0]);
}

TEST(Gptq, looking_back_gains_and_costs_nothing) {
  const std::int64_t n = 70, k = 208;
  std::vector<float> weights = normal(n * k, 1.0f, 15);
  for (std::size_t i = 0; i < weights.size(); i += 53) weights[i] *= 5;
  const std::vector<float> x = correlated_samples(3 * k, k, 16);
  for (const std::int64_t group : {16, 48, 128, 208}) {
    for (const ActOrder order : {ActOrder::none, ActOrder::fixed, ActOrder::by_group}) {
      Options options = options_of(Method::gptq, WeightType::u4b8, group);
      options.act_order = order;
      double first = 0, before = 0;
      for (options.rounds = 0; options.rounds <= 3; ++options.rounds) {
        Result result = quantized(options, weights, n, k, tokens(x, k));
        ASSERT_TRUE(result.status.ok()) << result.status.message();
        const double error = result.parts.output_error;
        // The cost that falls has damping in it, a hundredth of the mean; outputs alone may lose a little.
        if (options.rounds > 0) EXPECT_LT(error, before * 1.002) << group;
        if (options.rounds == 0) first = error;
        before = error;
      }
      if (order == ActOrder::none) EXPECT_LT(before, first * 0.98) << group;
    }
  }
}

TEST(Gptq, threads_change_no_byte) {
  const std::int64_t n = 300, k = 300;  // three tasks, two tiles of the factor
  const std::vector<float> weights = normal(n * k, 1.0f, 7), x = correlated_samples(600, k, 8);
  for (const ActOrder order : {ActOrder::none, ActOrder::fixed, ActOrder::by_group}) {
    Options options = options_of(Method::gptq, WeightType::u4, 128, true);
    options.act_order = order;
    Result alone = quantized(options, weights, n, k, tokens(x, k));
    for (const int threads : {2, 5}) {
      ThreadPool pool(threads);
      options.parallel.pool = &pool;
      Result together = quantized(options, weights, n, k, tokens(x, k));
      EXPECT_TRUE(alone.same_bytes(together)) << threads;
      EXPECT_EQ(alone.parts.output_error, together.parts.output_error);
      EXPECT_EQ(alone.parts.clipped_groups, together.parts.clipped_groups);
    }
    options.parallel.pool = nullptr;
  }
}

TEST(Gptq, dead_inputs_get_zero_weights_and_disturb_nothing) {
  const std::int64_t n = 20, k = 96, dead[] = {0, 17, 40, 95};
  std::vector<float> weights = normal(n * k, 1.0f, 9), x = correlated_samples(200, k, 10);
  for (const std::int64_t column : dead) {
    for (std::size_t t = 0; t < 200; ++t) x[t * static_cast<std::size_t>(k) + static_cast<std::size_t>(column)] = 0.0f;
  }
  for (const ActOrder order : {ActOrder::none, ActOrder::fixed, ActOrder::by_group}) {
    Options options = options_of(Method::gptq, WeightType::u4b8, 32, true);
    options.act_order = order;
    Result result = quantized(options, weights, n, k, tokens(x, k));
    ASSERT_TRUE(result.status.ok()) << result.status.message();
    EXPECT_EQ(result.parts.dead_columns, 4);
    for (const std::int64_t column : dead) {
      for (std::int64_t r = 0; r < n; ++r) ASSERT_EQ(result.code(r, column), 8);
    }
    EXPECT_LT(result.parts.output_error, result.parts.nearest_output_error);
  }
}

TEST(Gptq, singular_moments_are_damped_until_they_have_a_factor) {
  const std::int64_t n = 16, k = 64;
  const std::vector<float> weights = normal(n * k, 1.0f, 11);
  std::vector<float> h(static_cast<std::size_t>(k * k), 1.0f);  // every input the same: rank 1
  Options options = options_of(Method::gptq, WeightType::u4b8, 32);
  options.damping = 1e-9;
  Result result = quantized(options, weights, n, k, moments(h));
  ASSERT_TRUE(result.status.ok()) << result.status.message();
  EXPECT_GT(result.parts.damping, 1e-9);
  EXPECT_LT(result.parts.damping, 0.2);
  EXPECT_LT(result.parts.output_error, result.parts.nearest_output_error);

  // Not a sum of squares, but close: rounding did that.
  for (std::int64_t i = 0; i < k; ++i) h[static_cast<std::size_t>(i * k + (i + 1) % k)] = 1.02f;
  for (std::int64_t i = 0; i < k; ++i) h[static_cast<std::size_t>((i + 1) % k * k + i)] = 1.02f;
  result = quantized(options, weights, n, k, moments(h));
  ASSERT_TRUE(result.status.ok()) << result.status.message();
  EXPECT_GT(result.parts.damping, 0.0);

  std::fill(h.begin(), h.end(), 0.0f);  // no input was ever there
  result = quantized(options, weights, n, k, moments(h));
  ASSERT_TRUE(result.status.ok()) << result.status.message();
  EXPECT_EQ(result.parts.dead_columns, k);
  EXPECT_EQ(result.parts.weight_error, 1.0);
  EXPECT_EQ(result.parts.output_error, 0.0);

  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < k; ++j) h[static_cast<std::size_t>(i * k + j)] = i == j ? 1e-6f : 1e4f;
  }
  result = quantized(options, weights, n, k, moments(h));
  EXPECT_EQ(result.status.code(), Code::bad_input);
  EXPECT_NE(result.status.message().find("hessian has no Cholesky factor"), std::string::npos) << result.status.message();
}

TEST(Gptq, fewer_tokens_than_inputs_still_gain) {
  const std::int64_t n = 32, k = 128;
  const std::vector<float> weights = normal(n * k, 1.0f, 12), x = correlated_samples(20, k, 13);
  Result result = quantized(options_of(Method::gptq, WeightType::u4b8, 64), weights, n, k, tokens(x, k));
  ASSERT_TRUE(result.status.ok()) << result.status.message();
  EXPECT_LT(result.parts.output_error, 0.5 * result.parts.nearest_output_error);
}

TEST(Gptq, the_factor_is_one_of_the_damped_moments_in_their_order) {
  const std::int64_t k = 300;  // two tiles
  const std::vector<float> h = hessian(correlated_samples(400, k, 14), k);
  std::vector<std::int32_t> order(static_cast<std::size_t>(k));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>((i * 7) % order.size());
  std::vector<float> diagonal;
  for (std::int64_t i = 0; i < k; ++i) diagonal.push_back(h[static_cast<std::size_t>(i * k + i)]);
  CpuEngine engine({});
  auto found = factor(engine, h.data(), diagonal, order.data(), 0.01);
  ASSERT_TRUE(found.ok()) << found.status().message();
  const Factor& factored = *found;
  const auto link = [&](std::int64_t i, std::int64_t j) { return i == j ? 1.0 : static_cast<double>(factored.links.get()[i * k + j]); };
  for (std::int64_t i = 0; i < k; i += 7) {
    for (std::int64_t j = i; j < k; j += 11) {
      double sum = 0;
      for (std::int64_t m = j; m < k; ++m)
        sum += link(i, m) * static_cast<double>(factored.pivots_here[static_cast<std::size_t>(m)]) * link(j, m);
      const std::int64_t row = order[static_cast<std::size_t>(i)], column = order[static_cast<std::size_t>(j)];
      const double wanted = static_cast<double>(h[static_cast<std::size_t>(row * k + column)]) / factored.mean + (i == j ? 0.01 : 0.0);
      // Rounding in f32: k additions of terms as large as the two diagonal elements allow.
      const double size = std::sqrt(static_cast<double>(h[static_cast<std::size_t>(row * k + row)]) *
                                    static_cast<double>(h[static_cast<std::size_t>(column * k + column)])) /
                          factored.mean;
      ASSERT_NEAR(sum, wanted, (size + 0.01) * static_cast<double>(k) * 0x1p-23) << i << ", " << j;
    }
  }
}

}  // namespace
}  // namespace billfish::quantize
