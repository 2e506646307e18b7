// SPDX-License-Identifier: Apache-2.0
// Conversions of 16-bit elements, for every bit pattern and around every rounding boundary; and the checked integer maths.
#include "core/half.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/integers.hpp"
#include "core/matrix.hpp"

namespace billfish {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Half, EveryF16PatternComesBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float f = f16_to_f32(h);
    if ((h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0) {
      EXPECT_TRUE(std::isnan(f)) << bits;
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(f)))) << bits;
    } else {
      EXPECT_EQ(f32_to_f16(f), h) << bits;
      const int exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
      const double size = exponent == 31  ? static_cast<double>(kInfinity)
                          : exponent == 0 ? std::ldexp(mantissa, -24)
                                          : std::ldexp(1024 + mantissa, exponent - 25);
      EXPECT_EQ(static_cast<double>(f), (h & 0x8000) != 0 ? -size : size) << bits;
    }
  }
}

TEST(Half, F16RoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {  // every finite value and the gap above it
    const auto h = static_cast<std::uint16_t>(bits);
    const double low = static_cast<double>(f16_to_f32(h));
    const double high = bits == 0x7bff ? 65536.0 : static_cast<double>(f16_to_f32(static_cast<std::uint16_t>(h + 1)));
    const auto middle = static_cast<float>((low + high) / 2);  // exact in f32
    const auto even = static_cast<std::uint16_t>(bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(f32_to_f16(middle), even) << bits;
    EXPECT_EQ(f32_to_f16(-middle), even | 0x8000) << bits;
    EXPECT_EQ(f32_to_f16(std::nextafterf(middle, 0.0f)), h) << bits;
    EXPECT_EQ(f32_to_f16(std::nextafterf(middle, kInfinity)), h + 1) << bits;
  }
}

TEST(Half, Bf16RoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const float low = bf16_to_f32(static_cast<std::uint16_t>(bits));
    std::uint32_t middle_bits = (bits << 16) | 0x8000u;
    float middle = 0;
    std::memcpy(&middle, &middle_bits, sizeof middle);
    EXPECT_EQ(f32_to_bf16(low), bits);
    EXPECT_EQ(f32_to_bf16(middle), bits + bits % 2) << bits;
    EXPECT_EQ(f32_to_bf16(std::nextafterf(middle, 0.0f)), bits) << bits;
    EXPECT_EQ(f32_to_bf16(std::nextafterf(middle, kInfinity)), bits + 1) << bits;
  }
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(f32_to_bf16(-kInfinity), 0xff80);
}

TEST(Half, ElementsMayLieAtAnyAddress) {
  unsigned char memory[64] = {};
  for (const ElementType type : {ElementType::f32, ElementType::f16, ElementType::bf16}) {
    for (int i = 0; i < 8; ++i) store_element(memory + 1, type, i, static_cast<float>(i) * 0.5f - 1);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(load_element(memory + 1, type, i), static_cast<float>(i) * 0.5f - 1);
  }
}

TEST(Integers, RoundUpwardsWithoutOverflow) {
  EXPECT_EQ(ceil_div(0, 7), 0);
  EXPECT_EQ(ceil_div(7, 7), 1);
  EXPECT_EQ(ceil_div(8, 7), 2);
  EXPECT_EQ(ceil_div(std::numeric_limits<std::int64_t>::max(), 2), std::int64_t{1} << 62);
  EXPECT_EQ(round_up(65, 64), 128);
  EXPECT_FALSE(checked_multiply(std::int64_t{1} << 32, std::int64_t{1} << 31).has_value());
  EXPECT_EQ(checked_multiply(std::int64_t{1} << 31, std::int64_t{1} << 31), std::int64_t{1} << 62);
  EXPECT_FALSE(checked_add(std::numeric_limits<std::int64_t>::max(), 1).has_value());
}

TEST(MatrixShape, CountsGroupsAndPadding) {
  MatrixShape shape;
  shape.type = WeightType::u4;
  shape.n = 65;
  shape.k = 176;
  shape.group = 32;
  EXPECT_EQ(shape.groups(), 6);  // the last one holds 16 rows
  EXPECT_FALSE(shape.per_column());
  EXPECT_EQ(shape.group_of_row(175), 5);
  EXPECT_EQ(shape.padded_n(), 128);
  EXPECT_EQ(shape.packed_code_words(), 11 * 256);
  EXPECT_EQ(shape.packed_zero_words(), 6 * 16);
  shape.k = 20;
  shape.group = 8;
  EXPECT_EQ(shape.group_of_row(31), 2);  // padding rows go with the last group
  EXPECT_EQ(resolve_group(-1, 48), 48);
  EXPECT_EQ(resolve_group(64, 48), 48);
  EXPECT_EQ(resolve_group(48, 48), 48);
  EXPECT_EQ(resolve_group(16, 48), 16);
  shape.k = 0;
  EXPECT_EQ(shape.groups(), 0);
}

}  // namespace
}  // namespace billfish
