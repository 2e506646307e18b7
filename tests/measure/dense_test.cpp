// SPDX-License-Identifier: Apache-2.0
// The unquantised product against a product in double: a baseline that computes something else would make every ratio a lie.
#include "measure/dense.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/half.hpp"
#include "measure/cpu_loops.hpp"
#include "measure/dense_kernels.hpp"

namespace billfish::measure {
namespace {

struct Case {
  std::int64_t m, k, n;
};

std::vector<float> random_values(std::int64_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> values(-1, 1);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& value : out) value = values(engine);
  return out;
}

// Each of the k products and sums rounds once in f32; bf16 rounds both factors first (2^-8 each, relative).
double bound(double magnitude, std::int64_t k, Precision precision) {
  const double f32 = static_cast<double>(k + 2) * 0x1p-24;
  const double factors = precision == Precision::bf16 ? 2 * 0x1p-8 + 0x1p-16 : 0;
  return magnitude * (f32 * (1 + factors) + factors) + 1e-30;
}

void check_product(const Case& shape, Precision precision, const Parallel& parallel) {
  const auto [m, k, n] = shape;
  const std::vector<float> a = random_values(m * k, 1), b = random_values(k * n, 2);
  auto dense = Dense::create(b.data(), k, n, precision);
  ASSERT_TRUE(dense.ok()) << dense.status().message();
  constexpr std::int64_t kGuard = 64;
  std::vector<float> c(static_cast<std::size_t>(m * n + 2 * kGuard), std::numeric_limits<float>::quiet_NaN());
  (*dense)->multiply(a.data(), m, c.data() + kGuard, parallel);
  for (std::int64_t i = 0; i < kGuard; ++i) {
    ASSERT_TRUE(std::isnan(c[static_cast<std::size_t>(i)])) << "wrote before c";
    ASSERT_TRUE(std::isnan(c[c.size() - 1 - static_cast<std::size_t>(i)])) << "wrote behind c";
  }
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0, magnitude = 0;
      for (std::int64_t x = 0; x < k; ++x) {
        const double product = static_cast<double>(a[static_cast<std::size_t>(i * k + x)]) * b[static_cast<std::size_t>(x * n + j)];
        sum += product;
        magnitude += std::abs(product);
      }
      const double error = std::abs(c[static_cast<std::size_t>(kGuard + i * n + j)] - sum);
      ASSERT_LE(error, bound(magnitude, k, precision))
          << (*dense)->name() << " m=" << m << " k=" << k << " n=" << n << " at " << i << "," << j;
    }
  }
}

TEST(Dense, EdgesOfEveryTileAreRight) {
  ThreadPool pool(2);
  Parallel two;
  two.pool = &pool;
  // Around the tile sizes (6 and 12 rows, 16 and 32 columns), the stretch of K (192 to 768), and odd K for pairs.
  for (const Case& shape :
       {Case{1, 1, 1}, Case{1, 7, 33}, Case{2, 64, 16}, Case{3, 65, 31}, Case{5, 129, 17}, Case{6, 256, 64}, Case{7, 383, 48},
        Case{8, 385, 15}, Case{12, 800, 32}, Case{13, 801, 65}, Case{37, 1001, 47}, Case{64, 200, 96}}) {
    for (const Precision precision : {Precision::full, Precision::bf16}) check_product(shape, precision, two);
  }
}

TEST(Dense, IntegersComeOutExactly) {
  constexpr std::int64_t m = 9, k = 513, n = 40;
  std::vector<float> a(m * k), b(k * n), c(m * n);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 7) - 3;
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 15) - 7;
  for (const Precision precision : {Precision::full, Precision::bf16}) {
    auto dense = Dense::create(b.data(), k, n, precision);
    ASSERT_TRUE(dense.ok());
    (*dense)->multiply(a.data(), m, c.data(), Parallel());
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::int64_t x = 0; x < k; ++x)
          sum += static_cast<double>(a[static_cast<std::size_t>(i * k + x)]) * b[static_cast<std::size_t>(x * n + j)];
        ASSERT_EQ(c[static_cast<std::size_t>(i * n + j)], sum);
      }
    }
  }
}

TEST(Dense, ThreadsDoNotChangeBits) {
  constexpr std::int64_t m = 19, k = 700, n = 333;
  const std::vector<float> a = random_values(m * k, 3), b = random_values(k * n, 4);
  auto dense = Dense::create(b.data(), k, n, Precision::full);
  ASSERT_TRUE(dense.ok());
  std::vector<float> one(m * n), many(m * n);
  (*dense)->multiply(a.data(), m, one.data(), Parallel());
  for (const int threads : {2, 3, 5}) {
    ThreadPool pool(threads);
    Parallel parallel;
    parallel.pool = &pool;
    (*dense)->multiply(a.data(), m, many.data(), parallel);
    ASSERT_EQ(one, many) << threads;
  }
}

TEST(Dense, BaselineReadsTheBytesThatItSays) {
  const std::vector<float> b = random_values(256 * 64, 5);
  auto full = Dense::create(b.data(), 256, 64, Precision::full), half = Dense::create(b.data(), 256, 64, Precision::bf16);
  ASSERT_TRUE(full.ok() && half.ok());
  EXPECT_EQ((*full)->bytes(), 256 * 64 * 4);
  EXPECT_EQ((*half)->bytes(), 256 * 64 * 2);
}

// The kernel that the machine would not choose is still a baseline somewhere.
TEST(Dense, ScalarKernelsMultiply) {
  constexpr int k = 33;
  const std::vector<float> a = random_values(4 * k, 6), b = random_values(k * 8, 7);
  std::vector<std::uint16_t> b_half;
  for (const float value : b) b_half.push_back(f32_to_bf16(value));
  for (int rows = 1; rows <= dense_scalar_f32.rows; ++rows) {
    std::vector<float> c(static_cast<std::size_t>(rows * 8), 1.0f), c_half = c;
    dense_scalar_f32.multiply[rows - 1](a.data(), b.data(), k, c.data(), 8, true);
    dense_scalar_bf16.multiply[rows - 1](a.data(), b_half.data(), k, c_half.data(), 8, false);
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < 8; ++j) {
        double sum = 1, sum_half = 0;
        for (int x = 0; x < k; ++x) {  // packed a: [k][rows]
          const double left = a[static_cast<std::size_t>(x * rows + i)];
          sum += left * b[static_cast<std::size_t>(x * 8 + j)];
          sum_half += left * bf16_to_f32(b_half[static_cast<std::size_t>(x * 8 + j)]);
        }
        EXPECT_NEAR(c[static_cast<std::size_t>(i * 8 + j)], sum, 1e-5);
        EXPECT_NEAR(c_half[static_cast<std::size_t>(i * 8 + j)], sum_half, 1e-5);
      }
    }
  }
}

TEST(Dense, RefusalsNameTheArgument) {
  const float one = 1;
  EXPECT_NE(Dense::create(nullptr, 1, 1, Precision::full).status().message().find("b must be given"), std::string::npos);
  EXPECT_NE(Dense::create(&one, 0, 1, Precision::full).status().message().find("k = 0"), std::string::npos);
  EXPECT_EQ(Dense::create(&one, 1, 1, Precision::int8).status().code(), Code::unsupported);
}

TEST(Dense, NoRowsIsNoWork) {
  const float one = 1;
  auto dense = Dense::create(&one, 1, 1, Precision::full);
  ASSERT_TRUE(dense.ok());
  (*dense)->multiply(nullptr, 0, nullptr, Parallel());
}

}  // namespace
}  // namespace billfish::measure
