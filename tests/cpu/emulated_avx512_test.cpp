// SPDX-License-Identifier: Apache-2.0
// Builds the AVX-512 kernels on emulated instructions, for backends.hpp, and proves what those instructions are asked to do.
#pragma GCC optimize("O1")  // hundreds of unrolled kernels on emulated instructions: slower code that compiles in a tenth of the time

#include <gtest/gtest.h>

#include "backends.hpp"
#include "emulated_avx512.hpp"

namespace billfish::cpu_tests {

using cpu::Arithmetics512;
using cpu::EmulatedAvx512;

constinit const cpu::Arithmetic kEmulatedAvx512[cpu::kAvx512Arithmetics] = {
    Arithmetics512<EmulatedAvx512>::kTable[0], Arithmetics512<EmulatedAvx512>::kTable[1], Arithmetics512<EmulatedAvx512>::kTable[2],
    Arithmetics512<EmulatedAvx512>::kTable[3], Arithmetics512<EmulatedAvx512>::kTable[4], Arithmetics512<EmulatedAvx512>::kTable[5],
    Arithmetics512<EmulatedAvx512>::kTable[6],
};

TEST(Avx512Decode, TablesHoldEveryCodeMinusZero) {
  const cpu::Bf16Table<false> implied;
  const cpu::Bf16Table<true> stored;
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(bf16_to_f32(implied.value[i]), static_cast<float>(i % 16 - 8)) << i;
    EXPECT_EQ(bf16_to_f32(stored.value[i]), static_cast<float>(i < 16 ? i : i - 32)) << i;
  }
  for (int code = 0; code < 16; ++code) {
    for (int zero = 0; zero < 16; ++zero) {
      EXPECT_EQ(bf16_to_f32(stored.value[(code - zero) & 31]), static_cast<float>(code - zero)) << code << " " << zero;
    }
  }
}

TEST(Avx512Decode, DifferencesOfEightBitCodesAreExactInBf16) {
  for (int value = -255; value <= 255; ++value) {
    EXPECT_EQ(bf16_to_f32(cpu::small_bf16(value)), static_cast<float>(value));
    EXPECT_EQ(f32_to_bf16(static_cast<float>(value)), cpu::small_bf16(value));
  }
}

// A step by columns: the quads of every column, in the layout's own words.
template <int kBits>
void expect_quads() {
  using U = cpu::Lanes<16>::U;
  using Codec = cpu::Codec<kBits, false>;
  using Quads = cpu::Int8Quads<EmulatedAvx512>;
  std::mt19937 random(5);
  std::uint32_t words[Codec::kBlockWords];
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random());
  const auto code = [&](int k, int n) {
    return words[layout::marlin_word_in_tile(kBits, k, n)] >> layout::marlin_shift_in_tile(kBits, k, n) & ((1u << kBits) - 1u);
  };
  for (int j = 0; j < 8; j += 2) {
    for (int quad = 0; quad < 4; ++quad) {
      const U quads =
          Quads::template column_weight<Codec>(Quads::template column_codes<Codec>(words + 4 * kBits * j, quad % 2), {}, quad / 2);
      for (int n = 0; n < 64; ++n) {
        const int lane = cpu::panel_position(kBits, n) - 8 * j;
        if (lane < 0 || lane >= 16) continue;
        const int k = 4 * quad;
        EXPECT_EQ(quads[lane], code(k, n) | code(k + 1, n) << 8 | code(k + 2, n) << 16 | code(k + 3, n) << 24) << n << " " << quad;
      }
    }
  }
}

TEST(Avx512Decode, QuadsByColumnsAreFourKOfOneColumn) {
  expect_quads<4>();
  expect_quads<8>();
}

}  // namespace billfish::cpu_tests
