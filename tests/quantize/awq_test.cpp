// SPDX-License-Identifier: Apache-2.0
// The search for AWQ's scales: against the same search in double, and what must hold whatever it is given.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/half.hpp"
#include "core/threads.hpp"
#include "quantize/awq_inputs.hpp"
#include "quantize/cpu_engine.hpp"
#include "quantize/grid.hpp"
#include "quantize/nearest.hpp"
#include "quantize/panel.hpp"
#include "quantize/quantize.hpp"

namespace billfish::quantize {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

struct Layer {
  std::int64_t k = 0, tokens = 0;
  std::vector<std::int64_t> n;
  std::vector<std::vector<float>> w;
  std::vector<float> x;

  std::vector<Weights> weights() const {
    std::vector<Weights> out;
    for (std::size_t i = 0; i < w.size(); ++i) out.push_back({w[i].data(), n[i], k, k});
    return out;
  }
  Samples samples() const { return {x.data(), ElementType::f32, tokens, k, nullptr, 0}; }
};

// Every 37th channel carries activations that are 30 times the others'.
Layer make_layer(std::vector<std::int64_t> n, std::int64_t k, std::int64_t tokens, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Layer layer = {k, tokens, std::move(n), {}, {}};
  for (const std::int64_t rows : layer.n) {
    layer.w.emplace_back();
    for (std::int64_t i = 0; i < rows * k; ++i) layer.w.back().push_back(0.05f * normal(random));
  }
  for (std::int64_t i = 0; i < tokens * k; ++i) layer.x.push_back(normal(random) * (i % k % 37 == 5 ? 30.0f : 1.0f));
  return layer;
}

Options options_for(WeightType type, std::int64_t group) {
  Options options;
  options.method = Method::awq;
  options.type = type;
  options.group = group;
  options.seed = 7;
  return options;
}

// |X (W - Q(W s) / s)|^2 with the codes that round to nearest gives, and |X W|^2, in double.
struct Squares {
  double error = 0, whole = 0;
};
Squares squares_of(const Options& options, const Layer& layer, const std::vector<float>& scales) {
  Squares out;
  const std::int64_t k = layer.k, groups = (k + options.group - 1) / options.group;
  std::vector<float> importance;  // mean x^2 of what the scaled channels are given
  for (std::int64_t c = 0; c < k; ++c) {
    double sum = 0;
    for (std::int64_t t = 0; t < layer.tokens; ++t) sum += std::pow(layer.x[at(t * k + c)] / scales[at(c)], 2.0);
    importance.push_back(static_cast<float>(sum / static_cast<double>(layer.tokens)));
  }
  for (std::size_t i = 0; i < layer.w.size(); ++i) {
    const std::int64_t n = layer.n[i];
    std::vector<float> scaled = layer.w[i];
    for (std::int64_t j = 0; j < n * k; ++j) scaled[at(j)] *= scales[at(j % k)];
    std::vector<std::uint8_t> codes(at(n * k)), zeros(at(groups * n));
    std::vector<std::uint16_t> stored(at(groups * n));
    Quantized quantized;
    quantized.codes = codes.data();
    quantized.zeros = has_zeros(options.type) ? zeros.data() : nullptr;
    quantized.scales = stored.data();
    const Weights weights = {scaled.data(), n, k, k};
    CpuEngine engine({});
    const float unit = unit_of(*largest_weight(weights, {}));
    const Matrix matrix = {
        weights.data, n, k, k, options.group, {options.type, options.scale_type, options.clip, unit, &best_lane_kernels()}};
    Form form(engine, matrix, codes.data());
    std::int64_t clipped = 0;
    EXPECT_TRUE(nearest(engine, matrix, importance.data(), nullptr, form, clipped).ok());
    EXPECT_TRUE(store_form(engine, matrix, form, {}, quantized).ok());
    for (std::int64_t t = 0; t < layer.tokens; ++t) {
      for (std::int64_t row = 0; row < n; ++row) {
        double error = 0, whole = 0;
        for (std::int64_t c = 0; c < k; ++c) {
          const std::int64_t place = c / options.group * n + row;
          const double zero = has_zeros(options.type) ? zeros[at(place)] : implicit_zero(options.type);
          const double q = (codes[at(c * n + row)] - zero) * f16_to_f32(stored[at(place)]) / scales[at(c)];
          const double w = layer.w[i][at(row * k + c)], x = layer.x[at(t * k + c)];
          error += x * (w - q);
          whole += x * w;
        }
        out.error += error * error;
        out.whole += whole * whole;
      }
    }
  }
  return out;
}

// The definition, in double: candidate `i` of 21.
std::vector<float> scales_by_definition(const Layer& layer, std::int64_t group, int i) {
  std::vector<float> scales(at(layer.k), 1.0f);
  if (i == 0) return scales;
  const double ratio = (i - 1) / 20.0;
  std::vector<double> s(at(layer.k));
  double rows = 0;
  for (const std::int64_t n : layer.n) rows += static_cast<double>(n);
  for (std::int64_t c = 0; c < layer.k; ++c) {
    double a = 0, w = 0;
    for (std::int64_t t = 0; t < layer.tokens; ++t) a += std::fabs(layer.x[at(t * layer.k + c)]) / static_cast<double>(layer.tokens);
    for (std::size_t m = 0; m < layer.w.size(); ++m) {
      for (std::int64_t row = 0; row < layer.n[m]; ++row) {
        double largest = 0;
        for (std::int64_t j = c / group * group; j < std::min(layer.k, (c / group + 1) * group); ++j) {
          largest = std::max(largest, static_cast<double>(std::fabs(layer.w[m][at(row * layer.k + j)])));
        }
        w += std::fabs(layer.w[m][at(row * layer.k + c)]) / largest / rows;
      }
    }
    s[at(c)] = std::pow(a, ratio) / std::pow(w, 1 - ratio);
  }
  const double middle = std::sqrt(*std::max_element(s.begin(), s.end()) * *std::min_element(s.begin(), s.end()));
  for (std::int64_t c = 0; c < layer.k; ++c) scales[at(c)] = static_cast<float>(s[at(c)] / middle);
  return scales;
}

TEST(Awq, AgreesWithTheDefinitionInDouble) {
  struct Case {
    WeightType type;
    std::int64_t group, k;
    std::vector<std::int64_t> n;
  };
  const Case cases[] = {{WeightType::u4b8, 32, 96, {40}},
                        {WeightType::u4, 32, 80, {24, 33}},  // the last group is half as long
                        {WeightType::u4, 96, 96, {31}},
                        {WeightType::u8b128, 16, 48, {8, 1, 5}},
                        {WeightType::u8, 64, 64, {32}}};
  for (const Case& one : cases) {
    SCOPED_TRACE(std::string(name_of(one.type)) + " " + std::to_string(one.k));
    const Layer layer = make_layer(one.n, one.k, 50, 3);
    const Options options = options_for(one.type, one.group);
    const Result<AwqScales> found = awq_scales(options, layer.weights(), layer.samples());
    ASSERT_TRUE(found.ok()) << found.status().message();
    ASSERT_EQ(found->losses.size(), 21u);
    for (int i = 0; i < 21; ++i) {
      const std::vector<float> scales = scales_by_definition(layer, one.group, i);
      const Squares squares = squares_of(options, layer, scales);
      // f32 against f64: a code on a boundary may fall to the other side, one in some thousands, at little cost.
      EXPECT_NEAR(found->losses[at(i)], std::sqrt(squares.error / squares.whole), 2e-3 * found->losses[at(i)]) << i;
      if (i != found->best) continue;
      for (std::int64_t c = 0; c < one.k; ++c) EXPECT_NEAR(found->scales[at(c)], scales[at(c)], 1e-5f * scales[at(c)]);
    }
    EXPECT_EQ(found->losses[at(found->best)], *std::min_element(found->losses.begin(), found->losses.end()));
  }
}

TEST(Awq, NeverLosesToNoScaling) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    const Layer layer = make_layer({16 + seed, 7}, 32 + 8 * seed, 3 + 9 * seed, seed);
    const Options options = options_for(seed % 2 ? WeightType::u4 : WeightType::u4b8, seed % 3 ? 16 : 32 + 8 * seed);
    const Result<AwqScales> found = awq_scales(options, layer.weights(), layer.samples());
    ASSERT_TRUE(found.ok()) << found.status().message();
    const Squares with = squares_of(options, layer, found->scales);
    const Squares without = squares_of(options, layer, std::vector<float>(at(layer.k), 1.0f));
    EXPECT_LE(with.error, without.error * (1 + 1e-5));
  }
}

TEST(Awq, ScalesUpWhatIsSalient) {
  const Layer layer = make_layer({64}, 128, 64, 5);
  const Result<AwqScales> found = awq_scales(options_for(WeightType::u4b8, 128), layer.weights(), layer.samples());
  ASSERT_TRUE(found.ok());
  EXPECT_GT(found->best, 0);
  EXPECT_LT(found->losses[at(found->best)], 0.85 * found->losses[0]);
  for (std::int64_t c = 0; c < 128; ++c) {
    if (c % 37 != 5) {
      EXPECT_LT(found->scales[at(c)], found->scales[5]);
    }
  }
}

TEST(Awq, TheSameBitsWhateverTheThreads) {
  const Layer layer = make_layer({300, 70}, 1100, 1100, 11);  // more of both than are taken whole
  Options options = options_for(WeightType::u4, 128);
  const Result<AwqScales> alone = awq_scales(options, layer.weights(), layer.samples());
  ASSERT_TRUE(alone.ok()) << alone.status().message();
  for (const int threads : {2, 5}) {
    ThreadPool pool(threads);
    options.parallel.pool = &pool;
    const Result<AwqScales> found = awq_scales(options, layer.weights(), layer.samples());
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->scales, alone->scales);
    EXPECT_EQ(found->losses, alone->losses);
  }
}

TEST(Awq, SumsOfTokensStandForAllOfThem) {
  const Layer layer = make_layer({24}, 1056, 1100, 13);
  Options options = options_for(WeightType::u4b8, 32);
  const Result<AwqScales> summed = awq_scales(options, layer.weights(), layer.samples());
  ASSERT_TRUE(summed.ok()) << summed.status().message();
  const Result<AwqInputs> inputs = awq_inputs(layer.samples(), layer.k, options.seed, {});
  ASSERT_TRUE(inputs.ok());
  EXPECT_EQ(inputs->count, kAwqSummedRows);
  const Squares squares = squares_of(options, layer, std::vector<float>(at(layer.k), 1.0f));
  // 512 sums: the square of each varies by sqrt(2) of itself, their mean by 6 %, its root by 3 %; of the quotient, twice that at most.
  EXPECT_NEAR(summed->losses[0], std::sqrt(squares.error / squares.whole), 0.15 * summed->losses[0]);
}

// H alone gives the same loss of no scaling as the samples that it was made of: both are exact.
TEST(Awq, SecondMomentsServeWhereTokensAreNotKept) {
  for (const std::int64_t tokens : {40, 300}) {  // fewer than channels: H is singular
    const Layer layer = make_layer({32, 20}, 96, tokens, 17);
    std::vector<float> h(96 * 96);
    std::int64_t count = 0;
    ASSERT_TRUE(hessian_add(layer.x.data(), ElementType::f32, tokens, 96, 96, h.data(), count, {}).ok());
    const Options options = options_for(WeightType::u4, 32);
    const Result<AwqScales> from_h = awq_scales(options, layer.weights(), {nullptr, ElementType::f32, 0, 0, h.data(), count});
    const Result<AwqScales> from_x = awq_scales(options, layer.weights(), layer.samples());
    ASSERT_TRUE(from_h.ok() && from_x.ok());
    EXPECT_NEAR(from_h->losses[0], from_x->losses[0], 1e-3 * from_x->losses[0]);
    EXPECT_LE(from_h->losses[at(from_h->best)], from_h->losses[0]);
  }
}

TEST(Awq, ChannelsThatNothingUsesKeepTheirScale) {
  Layer layer = make_layer({20}, 64, 30, 19);
  for (std::int64_t t = 0; t < 30; ++t) layer.x[at(t * 64 + 3)] = 0;
  for (std::int64_t row = 0; row < 20; ++row) layer.w[0][at(row * 64 + 40)] = 0;
  for (std::int64_t c = 32; c < 64; ++c) layer.w[0][at(7 * 64 + c)] = 0;  // a group of zeros
  const Result<AwqScales> found = awq_scales(options_for(WeightType::u4b8, 32), layer.weights(), layer.samples());
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->scales[3], 1.0f);
  EXPECT_EQ(found->scales[40], 1.0f);
  for (const float scale : found->scales) EXPECT_TRUE(std::isfinite(scale) && scale > 0);
  for (const double loss : found->losses) EXPECT_TRUE(std::isfinite(loss));
}

TEST(Awq, NothingButZerosNeedsNoScales) {
  Layer layer = make_layer({4}, 16, 5, 23);
  for (const bool zero_weights : {true, false}) {
    Layer empty = layer;
    for (float& value : zero_weights ? empty.w[0] : empty.x) value = 0;
    const Result<AwqScales> found = awq_scales(options_for(WeightType::u4, 16), empty.weights(), empty.samples());
    ASSERT_TRUE(found.ok()) << found.status().message();
    EXPECT_EQ(found->best, 0);
    EXPECT_EQ(found->scales, std::vector<float>(16, 1.0f));
    EXPECT_EQ(found->losses, std::vector<double>(21, 0.0));
  }
}

TEST(Awq, OneOfEverythingIsEnough) {
  const Layer layer = make_layer({1}, 1, 1, 29);
  const Result<AwqScales> found = awq_scales(options_for(WeightType::u4b8, 1), layer.weights(), layer.samples());
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->scales, std::vector<float>{1.0f});
}

TEST(Awq, NamesWhatIsNotFinite) {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()};
  for (const float value : bad) {
    Layer layer = make_layer({4, 6}, 32, 9, 31);
    layer.w[1][5 * 32 + 17] = value;
    Status status = awq_scales(options_for(WeightType::u4b8, 32), layer.weights(), layer.samples()).status();
    EXPECT_EQ(status.code(), Code::bad_input);
    EXPECT_NE(status.message().find("matrix 1: the weight of output 5, input 17"), std::string::npos) << status.message();

    layer = make_layer({4}, 32, 9, 31);
    layer.x[8 * 32 + 30] = value;
    status = awq_scales(options_for(WeightType::u4b8, 32), layer.weights(), layer.samples()).status();
    EXPECT_EQ(status.code(), Code::bad_input);
    EXPECT_NE(status.message().find("sample 8, input 30"), std::string::npos) << status.message();
  }
}

TEST(Awq, RefusesMatricesThatShareNoInput) {
  const Layer layer = make_layer({4, 6}, 32, 9, 37);
  std::vector<Weights> weights = layer.weights();
  weights[1].k = 31;
  Status status = awq_scales(options_for(WeightType::u4b8, 32), weights, layer.samples()).status();
  EXPECT_EQ(status.code(), Code::invalid_argument);
  EXPECT_NE(status.message().find("k = 31"), std::string::npos) << status.message();
  status = awq_scales(options_for(WeightType::u4b8, 32), layer.weights(), {}).status();
  EXPECT_NE(status.message().find("needs one of them"), std::string::npos) << status.message();
  status = awq_scales(options_for(WeightType::u4b8, 32), {}, layer.samples()).status();
  EXPECT_NE(status.message().find("count is 0"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace billfish::quantize
