// SPDX-License-Identifier: Apache-2.0
// The error bounds of docs/tolerance.md: products rounded in every way that they speak of stay below, the worst inputs come close, and
// planted faults do not slip through.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/half.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

using reference::Rounding;
using reference::Sums;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float rounded(float value, ElementType type) {
  return type == ElementType::f32 ? value : type == ElementType::f16 ? f16_to_f32(f32_to_f16(value)) : bf16_to_f32(f32_to_bf16(value));
}
float bf16(float value) { return rounded(value, ElementType::bf16); }

// One element: k activations, codes, and a scale and zero for every group.
struct Element {
  std::vector<float> a, scale;
  std::vector<int> code, zero;
  std::int64_t group = 64;
  std::int64_t k() const { return static_cast<std::int64_t>(a.size()); }
  float scale_of(std::size_t i) const { return scale[i / static_cast<std::size_t>(group)]; }
  int zero_of(std::size_t i) const { return zero[i / static_cast<std::size_t>(group)]; }
};

Sums exact(const Element& e) {
  Sums s;
  s.terms = 0;
  double largest = 0, weights = 0, squares = 0;
  for (std::size_t i = 0; i < e.a.size(); ++i) {
    const double x = static_cast<double>(e.a[i]), w = static_cast<double>(e.scale_of(i)) * (e.code[i] - e.zero_of(i));
    s.terms += x != 0;
    s.y += x * w;
    s.magnitude += std::fabs(x * w);
    s.unzeroed += std::fabs(x * static_cast<double>(e.scale_of(i))) * (e.code[i] + e.zero_of(i));
    s.squares += x * w * x * w;
    const double raw = std::fabs(x * static_cast<double>(e.scale_of(i))) * (e.code[i] + e.zero_of(i));
    s.unzeroed_squares += raw * raw;
    largest = std::max(largest, std::fabs(x));
    weights += std::fabs(w);
    squares += w * w;
    if (i % static_cast<std::size_t>(e.group) == static_cast<std::size_t>(e.group) - 1 || i + 1 == e.a.size()) {
      s.peak += largest * weights;
      s.peak_squares += largest * largest * squares;
      largest = weights = squares = 0;
    }
  }
  return s;
}

Element random_element(std::mt19937& random, std::int64_t k, std::int64_t group, ElementType a_type, float spread) {
  std::normal_distribution<float> normal;
  Element e;
  e.group = group;
  for (std::int64_t i = 0; i < k; ++i) {
    e.a.push_back(rounded(normal(random) * std::exp(spread * normal(random)), a_type));
    e.code.push_back(static_cast<int>(random() % 16));
    if (i % group == 0) {
      e.scale.push_back(rounded(0.01f * (0.5f + std::fabs(normal(random))), ElementType::f16));
      e.zero.push_back(static_cast<int>(random() % 16));
    }
  }
  return e;
}

// A tensor core: 8 products and the accumulator, all cut to 24 bits below the largest of them, the sum cut to f32.
double cut(double value, int exponent) {
  const double step = std::ldexp(1.0, exponent - 23);
  return std::trunc(value / step) * step;
}
float tensor_core_add(float sum, const double* products, int count) {
  double largest = std::fabs(static_cast<double>(sum));
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::fabs(products[i]));
  if (largest == 0) return 0;
  const int exponent = std::ilogb(largest);
  double total = cut(static_cast<double>(sum), exponent);
  for (int i = 0; i < count; ++i) total += cut(products[i], exponent);
  return total == 0 ? 0.0f : static_cast<float>(cut(total, std::ilogb(total)));
}

enum class Way { in_order, by_group, zeros_after, blocked };

// What the kernels of the CPU may do: weights exact, scale on the weight or on the sum, zeros before or after it.
float cpu_product(const Element& e, Way way, const Rounding& r) {
  float total = 0, sum = 0, activations = 0, blocks[8] = {};
  for (std::size_t i = 0; i < e.a.size(); ++i) {
    float parts[2] = {e.a[i], 0};
    if (r.precision == Precision::bf16) parts[0] = bf16(e.a[i]);
    if (r.activations_split) {
      parts[0] = bf16(e.a[i]);
      parts[1] = bf16(e.a[i] - parts[0]);
    }
    const auto difference = static_cast<float>(e.code[i] - e.zero_of(i));
    for (const float x : parts) {
      if (way == Way::in_order) total += x * (e.scale_of(i) * difference);
      if (way == Way::blocked) blocks[i % 8] += x * (e.scale_of(i) * difference);
      if (way == Way::by_group) sum += x * difference;
      if (way == Way::zeros_after) {
        sum += x * static_cast<float>(e.code[i]);
        activations += x;
      }
    }
    if ((i + 1) % static_cast<std::size_t>(e.group) == 0 || i + 1 == e.a.size()) {
      total += e.scale_of(i) * (sum - static_cast<float>(way == Way::zeros_after ? e.zero_of(i) : 0) * activations);
      sum = activations = 0;
    }
  }
  for (const float block : blocks) total += block;
  return rounded(total, r.c);
}

float int8_product(const Element& e, const Rounding& r) {
  float total = 0;
  const auto group = static_cast<std::size_t>(e.group);
  for (std::size_t begin = 0; begin < e.a.size(); begin += group) {
    const std::size_t end = std::min(begin + group, e.a.size());
    float largest = 0;
    for (std::size_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(e.a[i]));
    const float inverse = largest > 0 ? 127 / largest : 0;
    std::int64_t sum = 0;
    for (std::size_t i = begin; i < end; ++i) {
      sum += std::lrintf(e.a[i] * inverse) * (e.code[i] - e.zero_of(i));
    }
    total += static_cast<float>(sum) * (largest / 127) * e.scale_of(begin);
  }
  return rounded(total, r.c);
}

float gpu_product(const Element& e, const Rounding& r) {
  float total = 0;
  for (std::size_t i = 0; i < e.a.size(); i += 8) {
    double products[8] = {};
    const std::size_t count = std::min<std::size_t>(8, e.a.size() - i);
    for (std::size_t j = 0; j < count; ++j) {
      float scale = e.scale_of(i + j);
      if (r.scales_rounded) scale = rounded(scale, r.a);
      float w = scale * static_cast<float>(e.code[i + j] - e.zero_of(i + j));
      if (r.weights_rounded) w = rounded(w, r.a);
      products[j] = static_cast<double>(e.a[i + j]) * static_cast<double>(w);
    }
    total = tensor_core_add(total, products, static_cast<int>(count));
  }
  return rounded(total, r.c);
}

TEST(Bound, HoldsForEveryOrderOfSumsAndEveryRounding) {
  std::mt19937 random(8);
  constexpr ElementType kTypes[] = {ElementType::f32, ElementType::f16, ElementType::bf16};
  for (const std::int64_t k : {1, 16, 200, 3000}) {
    for (int trial = 0; trial < 60; ++trial) {
      for (const ElementType c : kTypes) {
        for (const ElementType a : kTypes) {
          const Element e = random_element(random, k, 64, a, trial % 3 == 0 ? 1.5f : 0.0f);
          const Sums s = exact(e);
          Rounding r;
          r.a = a;
          r.c = c;
          for (const Precision precision : {Precision::full, Precision::bf16}) {
            r.precision = precision;
            r.activations_split = precision == Precision::full && trial % 2 == 0;
            for (const Way way : {Way::in_order, Way::by_group, Way::zeros_after, Way::blocked}) {
              r.zeros_after_sum = way == Way::zeros_after;
              const double value = static_cast<double>(cpu_product(e, way, r));
              ASSERT_LE(std::fabs(value - s.y), reference::bound(r, k, s));
              ASSERT_TRUE(reference::acceptable(r, k, s, value));
            }
          }
          r.precision = Precision::int8;
          const double value = static_cast<double>(int8_product(e, r));
          ASSERT_LE(std::fabs(value - s.y), reference::bound(r, k, s));
          if (a == ElementType::f32) continue;
          Rounding gpu;
          gpu.a = a;
          gpu.c = c;
          gpu.tensor_cores = true;
          for (const int weights : {0, 1, 2}) {
            gpu.weights_rounded = weights > 0;
            gpu.scales_rounded = weights > 1;
            gpu.zeros_after_sum = false;
            ASSERT_LE(std::fabs(static_cast<double>(gpu_product(e, gpu)) - s.y), reference::bound(gpu, k, s));
          }
        }
      }
    }
  }
}

// The largest error of 300 random elements, in parts of the bound for random activations.
struct Shares {
  double gpu_f16 = 0, gpu_f32 = 0, cpu_f32 = 0, cpu_zeros_after = 0, cpu_bf16 = 0, int8 = 0;
};

Shares shares_of_probable_bound(std::int64_t k) {
  std::mt19937 random(9);
  Shares worst;
  const auto note = [k](double& share, const Rounding& r, const Sums& s, float value) {
    share = std::max(share, std::fabs(static_cast<double>(value) - s.y) / reference::probable_bound(r, k, s));
    EXPECT_LE(reference::probable_bound(r, k, s), reference::bound(r, k, s));
  };
  for (int trial = 0; trial < 300; ++trial) {
    const Element e = random_element(random, k, 128, ElementType::f16, 0.0f);
    const Sums s = exact(e);
    Rounding gpu;
    gpu.a = ElementType::f16;
    gpu.tensor_cores = gpu.weights_rounded = true;
    gpu.zeros_after_sum = false;
    gpu.chain = k;
    note(worst.gpu_f32, gpu, s, gpu_product(e, gpu));
    gpu.c = ElementType::f16;
    note(worst.gpu_f16, gpu, s, gpu_product(e, gpu));
    Rounding cpu;
    cpu.a = ElementType::f16;
    cpu.chain = k;
    cpu.zeros_after_sum = false;
    note(worst.cpu_f32, cpu, s, cpu_product(e, Way::in_order, cpu));
    cpu.chain = 128 + k / 128;
    cpu.zeros_after_sum = true;
    note(worst.cpu_zeros_after, cpu, s, cpu_product(e, Way::zeros_after, cpu));
    cpu.precision = Precision::bf16;
    note(worst.cpu_bf16, cpu, s, cpu_product(e, Way::zeros_after, cpu));
    cpu.precision = Precision::int8;
    note(worst.int8, cpu, s, int8_product(e, cpu));
  }
  return worst;
}

TEST(ProbableBound, HoldsForRandomActivationsAndIsWithinASmallFactorOfWhatIsSeen) {
  for (const std::int64_t k : {128, 2048, 14336}) {
    const Shares worst = shares_of_probable_bound(k);
    for (const double share : {worst.gpu_f16, worst.gpu_f32, worst.cpu_f32, worst.cpu_zeros_after, worst.cpu_bf16, worst.int8}) {
      EXPECT_LE(share, 1) << k;
    }
    // 300 elements reach four or five standard deviations; the bound stands at eight and more, and cannot know in which order sums ran.
    EXPECT_GT(worst.gpu_f16, 1.0 / 40) << k;
    EXPECT_GT(worst.gpu_f32, 1.0 / 40) << k;
    EXPECT_GT(worst.cpu_f32, 1.0 / 40) << k;
    EXPECT_GT(worst.cpu_zeros_after, 1.0 / 400) << k;
    EXPECT_GT(worst.cpu_bf16, 1.0 / 10) << k;
    EXPECT_GT(worst.int8, 1.0 / 10) << k;
  }
}

TEST(ProbableBound, SeesOneCodeThatIsOffByOneInADenseRow) {
  std::mt19937 random(11);
  Rounding cpu;
  cpu.chain = 128 + 16;
  for (int trial = 0; trial < 50; ++trial) {
    Element e = random_element(random, 2048, 128, ElementType::f32, 0.0f);
    e.a[300] = 1.0f;
    const Sums right = exact(e);
    e.code[300] ^= 1;
    const double error = std::fabs(exact(e).y - right.y);
    EXPECT_GT(error, reference::probable_bound(cpu, 2048, right));
  }
}

// Inputs whose roundings all pull one way: the bound is at most a few times what they reach.
TEST(Bound, IsWithinASmallFactorOfTheWorst) {
  // Weights: 3 * scale as close to half way between two f16 as any scale brings it, all activations 1.
  Element e;
  e.group = 64;
  for (int i = 0; i < 512; ++i) {
    e.a.push_back(1.0f);
    e.code.push_back(11);
    if (i % 64 == 0) {
      e.scale.push_back(1.0f);
      e.zero.push_back(8);
    }
  }
  double worst = 0;
  for (std::uint16_t bits = 0x3800; bits < 0x3c00; ++bits) {
    std::fill(e.scale.begin(), e.scale.end(), f16_to_f32(bits));
    const Sums s = exact(e);
    Rounding gpu;
    gpu.a = ElementType::f16;
    gpu.tensor_cores = gpu.weights_rounded = true;
    gpu.zeros_after_sum = false;
    worst = std::max(worst, std::fabs(static_cast<double>(gpu_product(e, gpu)) - s.y) / reference::bound(gpu, 512, s));
  }
  EXPECT_GT(worst, 1.0 / 4);

  // Activations: all just above the middle of two bf16, weights of one sign.
  Rounding r;
  r.precision = Precision::bf16;
  std::fill(e.a.begin(), e.a.end(), 1.0f + 0x1.02p-8f);
  EXPECT_GT(std::fabs(static_cast<double>(cpu_product(e, Way::in_order, r)) - exact(e).y) / reference::bound(r, 512, exact(e)), 1.0 / 2);

  // The output: half way between two f16, one exact product.
  Element one;
  one.a = {1.0f + 0x1p-11f};
  one.code = {9};
  one.zero = {8};
  one.scale = {1.0f};
  Rounding output;
  output.c = ElementType::f16;
  EXPECT_GT(
      std::fabs(static_cast<double>(cpu_product(one, Way::in_order, output)) - exact(one).y) / reference::bound(output, 1, exact(one)),
      0.8);

  // int8: every activation but one lies half way between two steps.
  Element steps = e;
  for (std::size_t i = 0; i < steps.a.size(); ++i) steps.a[i] = i % 64 == 0 ? 127.0f : 0.4999f;
  Rounding int8;
  int8.precision = Precision::int8;
  EXPECT_GT(std::fabs(static_cast<double>(int8_product(steps, int8)) - exact(steps).y) / reference::bound(int8, 512, exact(steps)),
            1.0 / 2);

  // Sums: 1, then terms of 1/4 units, each lost: in order, the worst that f32 can do.
  Element sums;
  sums.group = 4096;
  sums.scale = {1.0f};
  sums.zero = {8};
  for (int i = 0; i < 4096; ++i) {
    sums.a.push_back(i == 0 ? 1.0f : 0x1p-24f);
    sums.code.push_back(9);
  }
  Rounding chain;
  chain.chain = 4096;
  chain.zeros_after_sum = false;
  EXPECT_GT(
      std::fabs(static_cast<double>(cpu_product(sums, Way::in_order, chain)) - exact(sums).y) / reference::bound(chain, 4096, exact(sums)),
      1.0 / 2);
}

TEST(Bound, CatchesPlantedFaults) {
  // With activations on one row in 64, as `verify` may choose them, a code that is off by one stands out; with all of them, a whole
  // missing k step does.
  std::mt19937 random(10);
  Rounding gpu;
  gpu.a = ElementType::f16;
  gpu.tensor_cores = gpu.weights_rounded = true;
  for (int trial = 0; trial < 50; ++trial) {
    Element e = random_element(random, 4096, 128, ElementType::f16, 0.0f);
    for (std::size_t i = 0; i < e.a.size(); ++i) e.a[i] = i % 64 == 5 ? std::copysign(1.0f + std::fabs(e.a[i]), e.a[i]) : 0.0f;
    const Sums right = exact(e);
    e.code[64 * 7 + 5] ^= 1;
    const Sums wrong = exact(e);
    EXPECT_FALSE(reference::acceptable(gpu, 4096, right, wrong.y));
    e.code[64 * 7 + 5] ^= 1;
    EXPECT_TRUE(reference::acceptable(gpu, 4096, right, exact(e).y));
  }
}

TEST(Bound, SubnormalOutputsAreRoundedToTheirGrid) {
  Element one;
  one.a = {0x1p-20f};
  one.code = {9};
  one.zero = {8};
  one.scale = {0x1.8p-5f};
  Rounding r;
  r.c = ElementType::f16;
  const Sums s = exact(one);
  const double value = static_cast<double>(cpu_product(one, Way::in_order, r));
  EXPECT_NE(value, s.y);  // 1.5 * 2^-25 lies between 0 and 2^-24
  EXPECT_TRUE(reference::acceptable(r, 1, s, value));
  EXPECT_FALSE(reference::acceptable(r, 1, s, 0x1p-22));
}

TEST(Acceptable, WantsNonFiniteForNonFinite) {
  Rounding r;
  Sums s;
  s.y = s.magnitude = s.unzeroed = s.peak = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(reference::acceptable(r, 8, s, static_cast<double>(kInfinity)));
  EXPECT_TRUE(reference::acceptable(r, 8, s, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_FALSE(reference::acceptable(r, 8, s, 65504.0));
  s.y = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(reference::acceptable(r, 8, s, 0.0));
  EXPECT_EQ(reference::bound(r, 8, s), std::numeric_limits<double>::infinity());
}

TEST(Acceptable, WantsInfinityOnlyBeyondTheOutputType) {
  Rounding r;
  r.c = ElementType::f16;
  Sums s;
  s.y = s.magnitude = s.unzeroed = 70000;
  EXPECT_TRUE(reference::acceptable(r, 8, s, static_cast<double>(kInfinity)));
  EXPECT_FALSE(reference::acceptable(r, 8, s, -static_cast<double>(kInfinity)));
  EXPECT_FALSE(reference::acceptable(r, 8, s, 65504.0));  // saturating is not rounding
  EXPECT_FALSE(reference::acceptable(r, 8, s, std::numeric_limits<double>::quiet_NaN()));
  s.y = s.magnitude = s.unzeroed = 65000;
  EXPECT_FALSE(reference::acceptable(r, 8, s, static_cast<double>(kInfinity)));
  EXPECT_TRUE(reference::acceptable(r, 8, s, 65024.0));
  EXPECT_EQ(reference::bound(r, 8, s), reference::bound(r, 8, s));
  EXPECT_TRUE(std::isfinite(reference::bound(r, 8, s)));
}

TEST(RoundingOf, FollowsTheProblemAndTheDevice) {
  gemm::Problem problem;
  problem.a = ElementType::bf16;
  problem.scale = ElementType::f16;
  problem.precision = Precision::int8;
  const Rounding gpu = reference::rounding_of(problem, DeviceKind::cuda);
  EXPECT_TRUE(gpu.weights_rounded && gpu.scales_rounded && gpu.tensor_cores);
  EXPECT_EQ(gpu.precision, Precision::full);  // GPU kernels round no activations
  problem.wide_scales = true;
  EXPECT_FALSE(reference::rounding_of(problem, DeviceKind::cuda).weights_rounded);
  const Rounding cpu = reference::rounding_of(problem, DeviceKind::cpu);
  EXPECT_FALSE(cpu.weights_rounded || cpu.tensor_cores);
  EXPECT_EQ(cpu.precision, Precision::int8);
}

}  // namespace
}  // namespace billfish
