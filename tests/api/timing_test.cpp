// SPDX-License-Identifier: Apache-2.0
// The timing utilities of billfish.hpp: statistics, warm-up, the tree of ranges; and that a machine without a GPU says so.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "billfish/billfish.hpp"

namespace billfish::api_test {
namespace {

void sleep_ms(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

TEST(Timing, OrderStatisticsOfKnownSamples) {
  const Timing timing = timing_of({5.0, 1.0, 3.0, 2.0, 4.0});
  EXPECT_DOUBLE_EQ(timing.median, 3.0);
  EXPECT_DOUBLE_EQ(timing.min, 1.0);
  EXPECT_DOUBLE_EQ(timing.max, 5.0);
  EXPECT_DOUBLE_EQ(timing.p10, 1.4);
  EXPECT_DOUBLE_EQ(timing.p90, 4.6);
  EXPECT_EQ(timing.samples, 5);
}

TEST(Timing, WarmUpDoesNotCountAndIndicesGoOn) {
  std::vector<std::int64_t> seen;
  TimingOptions options;
  options.warm_seconds = 0.01;
  options.seconds = 0.01;
  options.least = 4;
  options.most = 6;
  const Timing timing = time_calls(
      [&](std::int64_t index) {
        seen.push_back(index);
        sleep_ms(index == 0 ? 30 : 2);  // the first call of anything is slow
      },
      options);
  EXPECT_GE(timing.samples, 4);
  EXPECT_LE(timing.samples, 6);
  EXPECT_GE(timing.min, 0.0019);
  EXPECT_LT(timing.max, 0.030);
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<std::int64_t>(i));
}

TEST(Timing, SamplesAreAskedForByTime) {
  std::vector<std::int64_t> counts;
  TimingOptions options;
  options.warm_seconds = 1.0;
  options.seconds = 0.5;
  options.least = 3;
  options.most = 1000;
  (void)time_samples(
      [&](std::int64_t count) {
        counts.push_back(count);
        return std::vector<double>(static_cast<std::size_t>(count), 0.01);
      },
      5, options);
  EXPECT_EQ(counts, (std::vector<std::int64_t>{1, 20, 10}));  // a measurement takes 5 x 10 ms
}

TEST(Profile, RangesOfTheSameNameUnderOneParentAreOneLine) {
  profile_clear();
  for (int i = 0; i < 3; ++i) {
    const ProfileRange outer("layer");
    {
      const ProfileRange inner("multiply");
      sleep_ms(2);
    }
    const ProfileRange other("copy");
  }
  const std::string report = profile_report();
  const std::size_t layer = report.find("layer"), multiply = report.find("  multiply"), copy = report.find("  copy");
  ASSERT_NE(layer, std::string::npos) << report;
  ASSERT_NE(multiply, std::string::npos) << report;
  ASSERT_NE(copy, std::string::npos) << report;
  EXPECT_LT(layer, multiply);
  EXPECT_LT(multiply, copy);
  EXPECT_EQ(std::count(report.begin(), report.end(), '\n'), 3) << report;
  EXPECT_NE(report.find("3 x"), std::string::npos) << report;
  const ProfileNode& node = *profile_root().children[0];
  EXPECT_GE(node.wall, node.children[0]->wall);
  EXPECT_GE(node.children[0]->wall, 0.006);
  profile_clear();
  EXPECT_EQ(profile_report(), "");
}

TEST(Profile, AnExceptionClosesItsRange) {
  profile_clear();
  try {
    const ProfileRange range("fails");
    throw std::runtime_error("x");
  } catch (const std::runtime_error&) {
  }
  { const ProfileRange next("next"); }
  ASSERT_EQ(profile_root().children.size(), 2u) << profile_report();  // side by side, not one in the other
  profile_clear();
}

TEST(Timing, OnADeviceThatIsNotThereIsAnErrorWithAReason) {
  if (billfish_tools_cuda_devices() > 0) {
    EXPECT_NO_THROW(DeviceTimer timer);
    return;
  }
  EXPECT_THROW(DeviceTimer timer, Error);
  EXPECT_THROW((void)time_on_device(0, 1, [](std::int64_t, void*) { return BILLFISH_OK; }), Error);
}

}  // namespace
}  // namespace billfish::api_test
