// SPDX-License-Identifier: Apache-2.0
// Builds the AVX-512 kernels on emulated instructions, for backends.hpp, and proves what those instructions are asked to do.
#pragma GCC optimize("O1")  // hundreds of unrolled kernels on emulated instructions: slower code that compiles in a tenth of the time

#include <gtest/gtest.h>

#include "backends.hpp"
#include "emulated_avx512.hpp"

namespace billfish::cpu_tests {

using cpu::Arithmetics512;
using cpu::EmulatedAvx512;

constinit const cpu::Arithmetic kEmulatedAvx512[5] = {
    Arithmetics512<EmulatedAvx512>::kTable[0], Arithmetics512<EmulatedAvx512>::kTable[1], Arithmetics512<EmulatedAvx512>::kTable[2],
    Arithmetics512<EmulatedAvx512>::kTable[3], Arithmetics512<EmulatedAvx512>::kTable[4],
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

}  // namespace billfish::cpu_tests
