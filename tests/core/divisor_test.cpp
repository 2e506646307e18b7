// SPDX-License-Identifier: Apache-2.0
#include "core/divisor.hpp"

#include <gtest/gtest.h>

#include <random>

namespace billfish {
namespace {

constexpr std::uint32_t kMost = 0x7fff'ffff;  // dividend

// Around the last multiple of the number, and around `near`.
void expect_exact(std::uint32_t number, std::uint32_t near) {
  const Divisor by = Divisor::by(number);
  for (const std::uint32_t middle : {near, near / number * number, kMost / number * number, number, kMost}) {
    for (std::int64_t value = std::int64_t{middle} - 2; value <= std::int64_t{middle} + 2; ++value) {
      if (value < 0 || value > kMost) continue;
      const auto dividend = static_cast<std::uint32_t>(value);
      ASSERT_EQ(dividend / by, dividend / number) << dividend << " by " << number;
    }
  }
}

TEST(Divisor, SmallNumbers) {
  std::mt19937 random(1);
  for (std::uint32_t number = 1; number <= 20'000; ++number) {
    for (int i = 0; i < 20; ++i) expect_exact(number, static_cast<std::uint32_t>(random()) >> (1 + random() % 31));
  }
}

TEST(Divisor, LargeNumbers) {
  std::mt19937 random(2);
  for (int bits = 1; bits <= 31; ++bits) {
    const std::uint32_t power = 1u << bits;
    for (const std::uint32_t number : {power - 1, power, power + 1}) {
      if (number <= kMost + 1) expect_exact(number, static_cast<std::uint32_t>(random()) >> 1);
    }
  }
  for (int i = 0; i < 500'000; ++i) {
    expect_exact((static_cast<std::uint32_t>(random()) >> (1 + random() % 31)) + 1, static_cast<std::uint32_t>(random()) >> 1);
  }
}

}  // namespace
}  // namespace billfish
