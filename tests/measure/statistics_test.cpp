// SPDX-License-Identifier: Apache-2.0
// Order statistics by hand-computed values, and the rotation that keeps caches from helping.
#include "measure/statistics.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "measure/rotation.hpp"

namespace billfish::measure {
namespace {

TEST(Statistics, EvenCountsInterpolateTheMedian) {
  std::vector<double> values = {4, 1, 3, 2};
  const Summary summary = summarize(values);
  EXPECT_DOUBLE_EQ(summary.median, 2.5);
  EXPECT_DOUBLE_EQ(summary.min, 1);
  EXPECT_DOUBLE_EQ(summary.max, 4);
  EXPECT_EQ(summary.samples, 4);
}

TEST(Statistics, QuantilesLieBetweenNeighbours) {
  std::vector<double> values;
  for (int i = 100; i >= 0; --i) values.push_back(i);
  const Summary summary = summarize(values);
  EXPECT_DOUBLE_EQ(summary.p10, 10);
  EXPECT_DOUBLE_EQ(summary.median, 50);
  EXPECT_DOUBLE_EQ(summary.p90, 90);
}

TEST(Statistics, OneValueIsEveryQuantile) {
  std::vector<double> one = {7};
  const Summary summary = summarize(one);
  EXPECT_EQ(summary.median, 7);
  EXPECT_EQ(summary.p10, 7);
  EXPECT_EQ(summary.p90, 7);
}

TEST(Statistics, NoValuesAreNoCrash) {
  std::vector<double> none;
  EXPECT_EQ(summarize(none).samples, 0);
  EXPECT_EQ(geometric_mean(none), 0);
}

TEST(Statistics, GeometricMeanIsOfRatios) {
  const std::vector<double> values = {0.5, 2.0, 8.0};
  EXPECT_NEAR(geometric_mean(values), 2.0, 1e-12);
}

TEST(Statistics, TheClockOnlyGoesForward) {
  double last = now();
  for (int i = 0; i < 1000; ++i) {
    const double next = now();
    ASSERT_GE(next, last);
    last = next;
  }
}

// A call must not find in a cache what the call of the same copy left there: the other copies together are larger than the cache.
TEST(Rotation, TheOtherCopiesExceedTheTouchedSizeLessOne) {
  for (const std::int64_t bytes : {1'000'000LL, 8'650'752LL, 41'000'000LL, 164'999'999LL}) {
    const std::int64_t copies = copies_to_touch(kCpuTouchBytes, bytes, 1);
    EXPECT_GE(copies * bytes, kCpuTouchBytes);
    EXPECT_LT((copies - 1) * bytes, kCpuTouchBytes);
  }
}

TEST(Rotation, LargeLayersStillAlternate) {
  EXPECT_EQ(copies_to_touch(kCudaTouchBytes, 1'000'000'000, 2), 2);
  EXPECT_EQ(copies_to_touch(kCudaTouchBytes, 0, 2), 2);
}

}  // namespace
}  // namespace billfish::measure
