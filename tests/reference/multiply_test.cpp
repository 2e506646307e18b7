// SPDX-License-Identifier: Apache-2.0
// The oracle's product against a triple loop over the checkpoint itself, which knows neither Marlin bytes nor packed rows.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gemm/registry.hpp"
#include "layout/marlin_scales.hpp"
#include "pack/random_matrix.hpp"
#include "reference/reference.hpp"

namespace billfish {
namespace {

using testing::Checkpoint;
using testing::Order;
using testing::Packed;
using testing::Recipe;

struct Product {
  std::mt19937_64 random{5};
  Checkpoint source;
  Packed packed;
  std::vector<float> a;
  std::int64_t m = 3, lda = 0;

  explicit Product(const Recipe& recipe) {
    fill_random(source, recipe, random);
    packed.reset(*pack::packed_sizes(source.matrix), 0xee);
    reference::pack(source.matrix, packed.matrix);
    lda = recipe.k + 5;
    a.assign(static_cast<std::size_t>(m * lda), std::numeric_limits<float>::quiet_NaN());  // between rows: never to be read
    for (std::int64_t row = 0; row < m; ++row) {
      for (std::int64_t k = 0; k < recipe.k; ++k) at(row, k) = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 250;
    }
  }
  float& at(std::int64_t row, std::int64_t k) { return a[static_cast<std::size_t>(row * lda + k)]; }
  std::vector<reference::Sums> sums(bool bias, std::int64_t n0, std::int64_t n1, const Parallel& parallel = Parallel()) const {
    std::vector<reference::Sums> out(static_cast<std::size_t>(m * (n1 - n0)));
    reference::multiply(packed.matrix, a.data(), ElementType::f32, m, lda, bias, n0, n1, out.data(), parallel);
    return out;
  }
};

// In long double, from the checkpoint.
reference::Sums plain(Product& p, std::int64_t row, std::int64_t n, bool bias) {
  const QuantizedMatrix& m = p.source.matrix;
  long double y = 0, magnitude = 0, unzeroed = 0, squares = 0, peak = 0, peak_squares = 0;
  std::int64_t terms = 0;
  std::vector<long double> largest(static_cast<std::size_t>(m.groups()), 0), weights = largest, weight_squares = largest;
  for (std::int64_t k = 0; k < m.k; ++k) {
    const long double x = static_cast<long double>(p.at(row, k));
    const long double scale = static_cast<long double>(reference::scale_at(m, k, n));
    const int code = reference::code_at(m, k, n), zero = reference::zero_at(m, k, n);
    const long double w = scale * (code - zero);
    y += x * w;
    magnitude += std::fabs(x * w);
    unzeroed += std::fabs(x * scale) * (code + zero);
    squares += x * w * x * w;
    terms += x != 0;
    const auto group = static_cast<std::size_t>(reference::group_at(m, k));
    largest[group] = std::max(largest[group], std::fabs(x));
    weights[group] += std::fabs(w);
    weight_squares[group] += w * w;
  }
  for (std::size_t group = 0; group < largest.size(); ++group) {
    peak += largest[group] * weights[group];
    peak_squares += largest[group] * largest[group] * weight_squares[group];
  }
  if (bias && m.bias != nullptr) {
    const long double b = static_cast<long double>(load_element(m.bias, m.bias_type, n));
    y += b;
    magnitude += std::fabs(b);
    unzeroed += std::fabs(b);
    squares += b * b;
  }
  reference::Sums sums;
  sums.y = static_cast<double>(y);
  sums.magnitude = static_cast<double>(magnitude);
  sums.unzeroed = static_cast<double>(unzeroed);
  sums.squares = static_cast<double>(squares);
  sums.peak = static_cast<double>(peak);
  sums.peak_squares = static_cast<double>(peak_squares);
  sums.terms = terms;
  return sums;
}

void expect_near(double actual, double expected, double size) {
  EXPECT_LE(std::fabs(actual - expected), 1e-13 * size) << actual << " " << expected;
}

TEST(Multiply, IsTheProductForEveryTypeAndOrder) {
  for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8}) {
    for (const Order order : {Order::none, Order::sorted_uneven, Order::permuted, Order::permuted_uneven}) {
      for (const auto& [n, k, group] : {std::tuple<int, int, int>{21, 300, 32}, {70, 17, 16}, {9, 513, -1}}) {
        Product p({.format = Format::gptq_v1, .type = type, .n = n, .k = k, .group = group, .order = order, .bias = true});
        for (const bool bias : {false, true}) {
          const auto sums = p.sums(bias, 0, n);
          for (std::int64_t row = 0; row < p.m; ++row) {
            for (std::int64_t column = 0; column < n; ++column) {
              const reference::Sums& s = sums[static_cast<std::size_t>(row * n + column)];
              const reference::Sums e = plain(p, row, column, bias);
              expect_near(s.y, e.y, e.magnitude);
              expect_near(s.magnitude, e.magnitude, e.magnitude);
              expect_near(s.unzeroed, e.unzeroed, e.unzeroed);
              EXPECT_EQ(s.terms, e.terms);
              expect_near(s.squares, e.squares, e.squares);
              expect_near(s.peak, e.peak, e.peak);
              expect_near(s.peak_squares, e.peak_squares, e.peak_squares);
            }
          }
        }
      }
    }
  }
}

TEST(Multiply, ColumnRangesAndThreadsChangeNoBit) {
  Product p({.format = Format::compressed_tensors, .type = WeightType::u4, .n = 70, .k = 300, .group = 32, .bias = true});
  ThreadPool pool(3);
  const auto whole = p.sums(true, 0, 70);
  for (const auto& [n0, n1] : {std::pair<int, int>{0, 70}, {3, 5}, {8, 41}, {69, 70}, {12, 12}}) {
    const auto part = p.sums(true, n0, n1, {.pool = &pool});
    for (std::int64_t row = 0; row < p.m; ++row) {
      for (int n = n0; n < n1; ++n) {
        const reference::Sums& s = part[static_cast<std::size_t>(row * (n1 - n0) + n - n0)];
        EXPECT_EQ(s.y, whole[static_cast<std::size_t>(row * 70 + n)].y);
        EXPECT_EQ(s.peak, whole[static_cast<std::size_t>(row * 70 + n)].peak);
      }
    }
  }
}

TEST(Multiply, ANonFiniteActivationSpoilsItsRowAndNoOther) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Product p({.format = Format::gptq_v1, .type = WeightType::u4b8, .n = 40, .k = 100, .group = 32});
    p.at(1, 99) = bad;
    const auto sums = p.sums(false, 0, 40);
    for (std::int64_t n = 0; n < 40; ++n) {
      EXPECT_TRUE(std::isfinite(sums[static_cast<std::size_t>(n)].y));
      EXPECT_FALSE(std::isfinite(sums[static_cast<std::size_t>(40 + n)].y));
      EXPECT_TRUE(std::isfinite(sums[static_cast<std::size_t>(80 + n)].y));
    }
  }
}

TEST(Multiply, ReadsABiasInMarlinOrder) {
  Product p({.format = Format::gptq_v1, .type = WeightType::u4b8, .n = 64, .k = 64, .group = 32, .bias = true});
  const auto plain_order = p.sums(true, 0, 64);
  const std::vector<std::uint16_t> bias(p.packed.bias.as<std::uint16_t>(), p.packed.bias.as<std::uint16_t>() + 64);
  for (int n = 0; n < 64; ++n) p.packed.bias.as<std::uint16_t>()[layout::marlin_column_scale(n)] = bias[static_cast<std::size_t>(n)];
  p.packed.matrix.bias_permuted = true;
  const auto permuted = p.sums(true, 0, 64);
  for (std::size_t i = 0; i < plain_order.size(); ++i) EXPECT_EQ(plain_order[i].y, permuted[i].y);
}

TEST(Dequantize, UndoesTheActivationOrder) {
  Product p({.format = Format::gptq_v1, .type = WeightType::u8, .n = 70, .k = 90, .group = 32, .order = Order::permuted_uneven});
  std::vector<float> w(90 * 80, -7.0f);
  reference::dequantize(p.packed.matrix, w.data(), 80, Parallel());
  for (std::int64_t k = 0; k < 90; ++k) {
    for (std::int64_t n = 0; n < 80; ++n) {
      const float expected =
          n >= 70 ? -7.0f
                  : reference::scale_at(p.source.matrix, k, n) *
                        static_cast<float>(reference::code_at(p.source.matrix, k, n) - reference::zero_at(p.source.matrix, k, n));
      EXPECT_EQ(w[static_cast<std::size_t>(k * 80 + n)], expected);
    }
  }
}

gemm::Problem problem_of(const Product& p, ElementType a, ElementType c, bool bias) {
  gemm::Problem problem;
  problem.m = p.m;
  problem.n = p.packed.matrix.n;
  problem.k = p.packed.matrix.k;
  problem.group = p.packed.matrix.group;
  problem.weight = p.packed.matrix.type;
  problem.a = a;
  problem.c = c;
  problem.bias = bias;
  return problem;
}

TEST(Implementation, RunsEveryTypeStrideAndOrder) {
  for (const ElementType a_type : {ElementType::f32, ElementType::f16, ElementType::bf16}) {
    for (const ElementType c_type : {ElementType::f32, ElementType::f16, ElementType::bf16}) {
      Product p({.format = Format::gptq_v1,
                 .type = WeightType::u4,
                 .n = 45,
                 .k = 75,
                 .group = 32,
                 .order = Order::permuted_uneven,
                 .bias = true});
      std::vector<std::uint32_t> a(p.a.size()), c(static_cast<std::size_t>(p.m * 50), 0xabababab);
      for (std::size_t i = 0; i < p.a.size(); ++i) store_element(a.data(), a_type, static_cast<std::int64_t>(i), p.a[i]);
      const gemm::Problem problem = problem_of(p, a_type, c_type, true);
      const gemm::DeviceFacts facts;
      ASSERT_EQ(reference::implementation.why_not(problem, facts), "");
      const gemm::Plan plan = reference::implementation.plan(problem, facts);
      const gemm::Call call = {.weights = &p.packed.matrix, .m = p.m, .a = a.data(), .lda = p.lda, .c = c.data(), .ldc = 50, .bias = true};
      ASSERT_TRUE(reference::implementation.run(plan, problem, call).ok());
      std::vector<reference::Sums> sums(static_cast<std::size_t>(p.m * 45));
      reference::multiply(p.packed.matrix, a.data(), a_type, p.m, p.lda, true, 0, 45, sums.data(), Parallel());
      const reference::Rounding rounding = reference::rounding_of(problem, plan);
      for (std::int64_t row = 0; row < p.m; ++row) {
        for (std::int64_t n = 0; n < 50; ++n) {
          const float value = load_element(c.data(), c_type, row * 50 + n);
          if (n >= 45) {
            std::uint32_t poison = 0xabababab;
            EXPECT_EQ(std::memcmp(reinterpret_cast<char*>(c.data()) + (row * 50 + n) * bytes_of(c_type), &poison,
                                  static_cast<std::size_t>(bytes_of(c_type))),
                      0);
          } else {
            const reference::Sums& s = sums[static_cast<std::size_t>(row * 45 + n)];
            EXPECT_TRUE(reference::acceptable(rounding, 75, s, static_cast<double>(value))) << value << " " << s.y;
          }
        }
      }
    }
  }
}

TEST(Implementation, WithoutRowsOfWeightsIsTheBiasOrNothing) {
  PackedMatrix m;
  m.n = 3;
  float bias[] = {1.5f, -2, 3};
  m.bias = bias;
  m.bias_type = ElementType::f32;
  float c[] = {9, 9, 9, 9, 9, 9};
  gemm::Problem problem;
  problem.m = 2;
  problem.n = 3;
  problem.a = problem.c = ElementType::f32;
  const gemm::Plan plan = reference::implementation.plan(problem, gemm::DeviceFacts());
  gemm::Call call = {.weights = &m, .m = 2, .c = c, .ldc = 3, .bias = true};
  ASSERT_TRUE(reference::implementation.run(plan, problem, call).ok());
  for (int i = 0; i < 6; ++i) EXPECT_EQ(c[i], bias[i % 3]);
  call.bias = false;
  ASSERT_TRUE(reference::implementation.run(plan, problem, call).ok());
  for (const float value : c) EXPECT_EQ(value, 0.0f);
}

}  // namespace
}  // namespace billfish
