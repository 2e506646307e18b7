// SPDX-License-Identifier: Apache-2.0
// Ceilings are only worth something if the loops are not optimised away and the threads really run: bounds that any machine keeps.
#include "measure/ceilings.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "measure/cpu_loops.hpp"
#include "measure/statistics.hpp"

namespace billfish::measure {
namespace {

// 64 bytes x 2 operations x 4 pipes x 8 GHz: no core does more f32 than this, a loop that vanished does.
constexpr double kImpossibleF32 = 1024;
constexpr double kImpossibleReadGbps = 4000;  // one core, any cache

TEST(Ceilings, RatesAreThoseOfRealLoops) {
  const Parallel one;
  const CpuCeilings ceilings = cpu_ceilings(one);
  EXPECT_GT(ceilings.f32_gflops, 0.1);
  EXPECT_LT(ceilings.f32_gflops, kImpossibleF32);
  const double matrices = cpu_features().amx ? 16 : 1;
  EXPECT_LT(ceilings.bf16_gflops, matrices * 2 * kImpossibleF32);
  EXPECT_LT(ceilings.int8_gops, matrices * 4 * kImpossibleF32);
  EXPECT_EQ(ceilings.bf16_gflops > 0, cpu_features().avx512_bf16);
  EXPECT_EQ(ceilings.int8_gops > 0, cpu_features().avx2);
}

TEST(Ceilings, ThreadsAddUpToAPossibleRate) {
  ThreadPool pool(2);
  Parallel two;
  two.pool = &pool;
  const double both = cpu_ceilings(two).f32_gflops;
  EXPECT_GT(both, 0.1);
  EXPECT_LT(both, 2 * kImpossibleF32);
}

TEST(Ceilings, OneRunHasTheRateOfTheDotOfItsPrecision) {
  const Parallel one;
  const CpuCeilings best = cpu_ceilings(one);
  const double wide = best.bf16_gflops > 0 ? best.bf16_gflops : best.f32_gflops, narrow = best.int8_gops > 0 ? best.int8_gops : wide;
  double full = 0, int8 = 0;
  for (int i = 0; i < 20; ++i) {  // the best of many: other programs only ever take from a rate
    full = std::max(full, dot_rate(Precision::full, wide * 1e6, one));
    int8 = std::max(int8, dot_rate(Precision::int8, narrow * 1e6, one));
  }
  EXPECT_GT(full, wide / 3);
  EXPECT_LT(full, wide * 3);
  EXPECT_GT(int8, narrow / 3);
  EXPECT_LT(int8, narrow * 3);
  EXPECT_GT(dot_rate(Precision::full, 0, one), 0);
}

TEST(Ceilings, EveryByteIsRead) {
  std::vector<unsigned char> data(100'003, 0);
  for (const CpuLoops* loops : {&scalar_loops, &avx2_loops, &avx512_loops}) {
    const bool can = loops == &scalar_loops || (loops == &avx2_loops ? cpu_features().avx2 : cpu_features().avx512);
    if (!can || loops->read == nullptr) continue;
    const std::int64_t size = static_cast<std::int64_t>(data.size());
    std::fill(data.begin(), data.end(), static_cast<unsigned char>(0));
    ASSERT_EQ(loops->read(data.data(), size), 0u);
    for (const std::size_t place : {std::size_t{0}, std::size_t{63}, std::size_t{255}, std::size_t{256}, data.size() - 1}) {
      data[place] = 1;
      EXPECT_NE(loops->read(data.data(), size), 0u) << place;
      data[place] = 0;
    }
  }
}

TEST(Ceilings, ReadingTakesTimeInProportion) {
  std::vector<unsigned char> data(64 << 20, 1);
  const Parallel one;
  double small = 1e9, large = 1e9;
  for (int i = 0; i < 20; ++i) {  // the best of many: other programs only ever add time
    small = std::min(small, read_seconds(data.data(), 8 << 20, one));
    large = std::min(large, read_seconds(data.data(), 64 << 20, one));
  }
  EXPECT_GT(large, 2 * small);
  EXPECT_LT(static_cast<double>(data.size()) / large * 1e-9, kImpossibleReadGbps);
}

TEST(Ceilings, NothingToReadIsNoCrash) { EXPECT_GE(read_seconds(nullptr, 0, Parallel()), 0); }

}  // namespace
}  // namespace billfish::measure
