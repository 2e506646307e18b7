// SPDX-License-Identifier: Apache-2.0
// Every set of kernels against the oracle, on odd shapes, poisoned memory and guarded buffers.
#include <gtest/gtest.h>

#include <cstring>

#include "backends.hpp"

namespace billfish::cpu_tests {
namespace {

constexpr WeightType kTypes[] = {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8};
constexpr Precision kPrecisions[] = {Precision::full, Precision::bf16, Precision::int8};
constexpr ElementType kElements[] = {ElementType::f32, ElementType::f16, ElementType::bf16};

template <class T, std::size_t kCount>
T pick(const T (&values)[kCount], std::mt19937& random) {
  return values[random() % kCount];
}

class Kernels : public testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, Kernels, testing::ValuesIn(backends()),
                         [](const auto& backend) { return std::string(backend.param.name); });

TEST_P(Kernels, AgreeWithTheOracleOnOddShapes) {
  std::mt19937 random(2026);
  constexpr std::int64_t kRows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 25, 31, 65};
  constexpr std::int64_t kColumns[] = {1, 8, 48, 63, 64, 65, 72, 100, 130, 330};
  constexpr std::int64_t kDepths[] = {1, 15, 16, 17, 48, 100, 128, 208, 304, 544};
  constexpr std::int64_t kGroups[] = {-1, 16, 32, 48, 64, 128, 256};
  ThreadPool pool(2);
  Parallel parallel;
  parallel.pool = &pool;
  for (int round = 0; round < 30; ++round) {
    for (const WeightType type : kTypes) {
      for (const Precision precision : kPrecisions) {
        Options o;
        o.type = type;
        o.n = pick(kColumns, random);
        o.k = pick(kDepths, random);
        o.group = pick(kGroups, random);
        o.scale = pick(kElements, random);
        o.act_order = random() % 3 == 0;
        o.bias = random() % 3 == 0;
        o.bias_permuted = random() % 2 == 0;
        const std::int64_t m = pick(kRows, random);
        const Packed p = make_packed(o, random);
        const Rows a = random_rows(pick(kElements, random), m, o.k, static_cast<std::int64_t>(random() % 9), false, random);
        Rows c(pick(kElements, random), m, o.n, static_cast<std::int64_t>(random() % 9));
        gemm::Problem problem = problem_of(p, m, a.type, c.type, precision, 1 + static_cast<int>(random() % 3));
        problem.batch_invariant = random() % 4 == 0;
        ASSERT_EQ(GetParam().multiply(p, problem, a, c, parallel), "");
        ASSERT_EQ(judge(GetParam(), p, problem, a, c), "");
      }
    }
  }
}

TEST_P(Kernels, GiveExactProductsBitForBit) {
  std::mt19937 random(7);
  for (const WeightType type : kTypes) {
    for (const Precision precision : kPrecisions) {
      for (const std::int64_t m : {1, 3, 4, 8, 13, 40}) {
        Options o;
        o.type = type;
        o.n = 72;
        o.k = 304;
        o.group = 64;
        o.exact = true;
        const Packed p = make_packed(o, random);
        Rows a = random_rows(ElementType::f16, m, o.k, 1, true, random);
        // int8 is exact where the largest activation of a group is 127: its scale is 1.
        for (std::int64_t row = 0; row < m; ++row) {
          for (std::int64_t k = 0; precision == Precision::int8 && k < o.k; k += o.group) a.set(row, k, 127.0f);
        }
        Rows c(ElementType::f32, m, o.n, 0);
        ASSERT_EQ(GetParam().multiply(p, problem_of(p, m, a.type, c.type, precision, 1), a, c), "");
        for (std::int64_t row = 0; row < m; ++row) {
          for (std::int64_t n = 0; n < o.n; ++n) {
            ASSERT_EQ(static_cast<double>(c.at(row, n)), expected(p, a, row, n).y)
                << name_of(type) << " " << name_of(precision) << " m " << m;
          }
        }
      }
    }
  }
}

// The identity as activations reads every weight back: every code against every zero point there is.
TEST_P(Kernels, DecodeEveryCodeAgainstEveryZero) {
  std::mt19937 random(9);
  for (const WeightType type : kTypes) {
    const int codes = 1 << bits_of(type);
    Options o;
    o.type = type;
    o.k = codes;
    o.n = std::max(codes, 64);
    o.exact = true;
    Packed p = make_packed(o, random);
    std::fill(p.codes.begin(), p.codes.end(), 0u);
    std::fill(p.zeros.begin(), p.zeros.end(), 0u);
    for (std::int64_t k = 0; k < o.k; ++k) {
      for (std::int64_t n = 0; n < o.n; ++n) {
        const layout::Place place = layout::marlin_code(bits_of(type), k, n, o.n);
        p.codes[static_cast<std::size_t>(place.word)] |= static_cast<std::uint32_t>(k) << place.shift;
      }
    }
    for (std::int64_t n = 0; has_zeros(type) && n < o.n; ++n) {
      const layout::Place place = layout::marlin_zero(bits_of(type), 0, n, o.n);
      p.zeros[static_cast<std::size_t>(place.word)] |= static_cast<std::uint32_t>(n % codes) << place.shift;
    }
    Rows identity(ElementType::f16, o.k, o.k, 0);
    for (std::int64_t i = 0; i < o.k; ++i) {
      for (std::int64_t k = 0; k < o.k; ++k) identity.set(i, k, i == k ? 1.0f : 0.0f);
    }
    for (const bool few : {true, false}) {  // both kinds of kernels
      for (const Precision precision : {Precision::full, Precision::bf16}) {
        for (std::int64_t row = 0; row < o.k; row += few ? 4 : o.k) {
          const std::int64_t m = few ? 4 : o.k;
          Rows a(ElementType::f16, m, o.k, 0);
          std::memcpy(a.data(), static_cast<const char*>(identity.data()) + row * o.k * 2, static_cast<std::size_t>(m * o.k * 2));
          Rows c(ElementType::f32, m, o.n, 0);
          ASSERT_EQ(GetParam().multiply(p, problem_of(p, m, a.type, c.type, precision, 1), a, c), "");
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t n = 0; n < o.n; ++n) {
              const int zero = has_zeros(type) ? static_cast<int>(n % codes) : implicit_zero(type);
              const float scale = p.scales_f32[static_cast<std::size_t>(layout::marlin_column_scale(n))];
              ASSERT_EQ(c.at(i, n), scale * static_cast<float>(static_cast<int>(row + i) - zero))
                  << name_of(type) << " " << row + i << " " << n;
            }
          }
        }
      }
    }
  }
}

TEST_P(Kernels, GiveTheSameBitsForAnyNumberOfThreads) {
  std::mt19937 random(21);
  for (const Precision precision : kPrecisions) {
    for (const std::int64_t m : {1, 4, 40, 230}) {
      Options o;
      o.n = 200;
      o.k = 544;
      o.group = 128;
      const Packed p = make_packed(o, random);
      const Rows a = random_rows(ElementType::f32, m, o.k, 0, false, random);
      std::vector<unsigned char> first;
      for (const int threads : {1, 2, 3, 7}) {
        ThreadPool pool(threads);
        Parallel parallel;
        parallel.pool = &pool;
        Rows c(ElementType::f32, m, o.n, 0);
        ASSERT_EQ(GetParam().multiply(p, problem_of(p, m, a.type, c.type, precision, threads), a, c, parallel), "");
        if (first.empty()) first = c.bytes;
        ASSERT_EQ(first, c.bytes) << threads << " threads, m " << m;
      }
    }
  }
}

// Few rows of a long K: several threads pack one tile, each its own groups, and one of them meets an infinity.
TEST_P(Kernels, GiveTheSameBitsWhereSeveralThreadsPackATile) {
  std::mt19937 random(23);
  for (const Precision precision : kPrecisions) {
    for (const std::int64_t group : {32, 48, -1}) {
      Options o;
      o.k = 4128;
      o.group = group;
      const Packed p = make_packed(o, random);
      Rows a = random_rows(ElementType::f16, 8, o.k, 0, false, random);
      for (const bool infinite : {false, true}) {
        if (infinite) a.set(5, 4000, std::numeric_limits<float>::infinity());
        std::vector<unsigned char> first;
        for (const int threads : {1, 2, 5}) {
          ThreadPool pool(threads);
          Parallel parallel;
          parallel.pool = &pool;
          Rows c(ElementType::f32, 8, o.n, 0);
          const gemm::Problem problem = problem_of(p, 8, a.type, c.type, precision, threads);
          ASSERT_EQ(GetParam().multiply(p, problem, a, c, parallel), "");
          if (first.empty()) first = c.bytes;
          ASSERT_EQ(first, c.bytes) << threads << " threads, group " << group;
          ASSERT_EQ(std::isfinite(c.at(5, 0)), !infinite);
        }
      }
    }
  }
}

TEST_P(Kernels, GiveARowTheSameBitsInAnyBatchWhenAskedTo) {
  std::mt19937 random(22);
  for (const Precision precision : kPrecisions) {
    Options o;
    o.n = 100;
    o.k = 208;
    o.group = 32;
    o.type = WeightType::u4;
    const Packed p = make_packed(o, random);
    Rows a = random_rows(ElementType::f32, 50, o.k, 0, false, random);
    a.set(20, 3, 1e-30f);  // neighbours that some kernels cannot take
    a.set(30, 7, std::numeric_limits<float>::infinity());
    Rows all(ElementType::f32, 50, o.n, 0);
    gemm::Problem problem = problem_of(p, 50, a.type, all.type, precision, 1);
    problem.batch_invariant = true;
    ASSERT_EQ(GetParam().multiply(p, problem, a, all), "");
    for (const std::int64_t m : {1, 5, 13}) {
      problem.m = m;
      Rows c(ElementType::f32, m, o.n, 0);
      ASSERT_EQ(GetParam().multiply(p, problem, a, c), "");
      ASSERT_EQ(std::memcmp(all.data(), c.data(), static_cast<std::size_t>(m * o.n * 4)), 0) << m;
    }
  }
}

// Infinities of a sign stay, NaN stays, and whatever the oracle finds finite is within its bound.
void expect_like_the_oracle(const Backend& backend, const Packed& p, const gemm::Problem& problem, const Rows& a) {
  Rows c(ElementType::f32, problem.m, problem.n, 0);
  ASSERT_EQ(backend.multiply(p, problem, a, c), "");
  ASSERT_EQ(judge(backend, p, problem, a, c), "");
  for (std::int64_t row = 0; row < problem.m; ++row) {
    for (std::int64_t n = 0; n < problem.n; ++n) {
      const double y = expected(p, a, row, n).y;
      const float value = c.at(row, n);
      if (std::isnan(y)) {
        ASSERT_TRUE(std::isnan(value)) << value << " for NaN: row " << row << " column " << n << " " << gemm::describe(problem);
      }
      if (std::isinf(y)) {
        ASSERT_EQ(static_cast<double>(value), y) << "row " << row << " column " << n << " " << gemm::describe(problem);
      }
    }
  }
}

TEST_P(Kernels, PropagateInfinitiesAndNaNOfActivations) {
  std::mt19937 random(31);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const WeightType type : kTypes) {
    for (const Precision precision : kPrecisions) {
      for (const std::int64_t m : {1, 3, 20}) {
        Options o;
        o.type = type;
        o.n = 70;
        o.k = 100;
        o.group = 32;
        const Packed p = make_packed(o, random);
        for (const float planted : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
          Rows a = random_rows(ElementType::f32, m, o.k, 0, false, random);
          a.set(m / 2, 77, planted);
          expect_like_the_oracle(GetParam(), p, problem_of(p, m, a.type, ElementType::f32, precision, 1), a);
        }
      }
    }
  }
}

TEST_P(Kernels, PropagateInfinitiesAndNaNOfScales) {
  std::mt19937 random(32);
  for (const std::int64_t group : {-1, 32}) {
    for (const Precision precision : {Precision::full, Precision::bf16}) {
      for (const std::int64_t m : {1, 20}) {
        for (const float planted : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
          Options o;
          o.n = 70;
          o.k = 100;
          o.group = group;
          o.scale = ElementType::f32;
          Packed p = make_packed(o, random);
          const std::int64_t column = 66;
          const std::int64_t at = (p.matrix.groups() - 1) * p.matrix.padded_n() + layout::marlin_scale(p.matrix.per_column(), column);
          const float old = p.scales_f32[static_cast<std::size_t>(at)];
          p.scales_f32[static_cast<std::size_t>(at)] = planted;
          for (std::int64_t k = (p.matrix.groups() - 1) * p.matrix.group; k < o.k; ++k) {
            double& w = p.weights[static_cast<std::size_t>(k * o.n + column)];
            w = static_cast<double>(planted) * std::round(w / static_cast<double>(old));
          }
          const Rows a = random_rows(ElementType::f32, m, o.k, 0, false, random);
          expect_like_the_oracle(GetParam(), p, problem_of(p, m, a.type, ElementType::f32, precision, 1), a);
        }
      }
    }
  }
}

TEST_P(Kernels, KeepPrecisionWhereActivationsAreTinyOrHuge) {
  std::mt19937 random(33);
  for (const float size : {0x1p-140f, 0x1p-120f, 0x1p-98f, 0x1p97f}) {
    for (const std::int64_t m : {2, 20}) {
      Options o;
      o.n = 64;
      o.k = 64;
      o.scale = ElementType::f32;
      const Packed p = make_packed(o, random);
      Rows a = random_rows(ElementType::f32, m, o.k, 0, false, random);
      for (std::int64_t row = 0; row < m; ++row) {
        for (std::int64_t k = 0; k < o.k; ++k) a.set(row, k, a.at(row, k) * size);
      }
      Rows c(ElementType::f32, m, o.n, 0);
      ASSERT_EQ(GetParam().multiply(p, problem_of(p, m, a.type, c.type, Precision::full, 1), a, c), "");
      for (std::int64_t row = 0; row < m; ++row) {
        for (std::int64_t n = 0; n < o.n; ++n) {
          const Element e = expected(p, a, row, n);
          ASSERT_LE(std::fabs(static_cast<double>(c.at(row, n)) - e.y), 2e-5 * e.magnitude + 64 * 0x1p-149) << size;
        }
      }
    }
  }
}

TEST_P(Kernels, ReadCodesThatBeginAnywhere) {
  std::mt19937 random(34);
  Options o;
  o.n = 128;
  o.k = 160;
  o.group = 32;
  Packed p = make_packed(o, random);
  p.codes.insert(p.codes.begin(), 3, 0xffffffffu);
  p.matrix.codes = p.codes.data() + 3;
  for (const std::int64_t m : {1, 30}) {
    const Rows a = random_rows(ElementType::f16, m, o.k, 0, false, random);
    Rows c(ElementType::f16, m, o.n, 0);
    const gemm::Problem problem = problem_of(p, m, a.type, c.type, Precision::full, 1);
    ASSERT_EQ(GetParam().multiply(p, problem, a, c), "");
    ASSERT_EQ(judge(GetParam(), p, problem, a, c), "");
  }
}

TEST_P(Kernels, MakeDoWithTheSmallestWorkspace) {
  std::mt19937 random(35);
  Options o;
  o.n = 130;
  o.k = 208;
  o.group = 16;
  const Packed p = make_packed(o, random);
  const Rows a = random_rows(ElementType::f32, 300, o.k, 0, false, random);
  gemm::Problem problem = problem_of(p, 300, a.type, ElementType::f32, Precision::full, 4);
  const std::int64_t liked = GetParam().implementation->plan(problem, GetParam().facts).workspace_bytes;
  std::vector<unsigned char> bits;
  int sizes = 0;
  for (std::int64_t bytes = liked;; bytes = bytes * 2 / 3) {
    problem.workspace_bytes = bytes;
    const std::string refusal = GetParam().implementation->why_not(problem, GetParam().facts);
    if (!refusal.empty()) {
      EXPECT_NE(refusal.find("workspace is " + std::to_string(bytes) + " bytes"), std::string::npos) << refusal;
      break;
    }
    EXPECT_LE(GetParam().implementation->plan(problem, GetParam().facts).workspace_bytes, bytes);
    Rows c(ElementType::f32, 300, o.n, 0);
    ASSERT_EQ(GetParam().multiply(p, problem, a, c), "");
    ASSERT_EQ(judge(GetParam(), p, problem, a, c), "");
    if (bits.empty()) bits = c.bytes;
    EXPECT_EQ(bits, c.bytes) << bytes;  // rows and threads in flight change no bit
    ++sizes;
  }
  EXPECT_GT(sizes, 2);
}

TEST_P(Kernels, AddNothingButTheBiasWhereKIsZero) {
  std::mt19937 random(36);
  Options o;
  o.n = 70;
  o.k = 16;
  o.bias = true;
  Packed p = make_packed(o, random);
  p.matrix.k = 0;
  p.matrix.group = 0;
  for (const std::int64_t m : {1, 30}) {
    const Rows a(ElementType::f32, m, 1, 0);
    Rows c(ElementType::f32, m, o.n, 2);
    gemm::Problem problem = problem_of(p, m, a.type, c.type, Precision::full, 1);
    ASSERT_EQ(GetParam().multiply(p, problem, a, c), "");
    for (std::int64_t row = 0; row < m; ++row) {
      for (std::int64_t n = 0; n < o.n; ++n) ASSERT_EQ(c.at(row, n), p.bias[static_cast<std::size_t>(n)]);
    }
    EXPECT_TRUE(c.guards_hold());
  }
}

}  // namespace
}  // namespace billfish::cpu_tests
