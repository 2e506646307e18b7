// SPDX-License-Identifier: Apache-2.0
// Builds the AMX kernels on emulated instructions, for backends.hpp, and proves what the decoding leaves for them.
#pragma GCC optimize("O1")  // as emulated_avx512_test.cpp

#include "emulated_amx.hpp"

#include <gtest/gtest.h>

#include <random>

#include "backends.hpp"
#include "cpu/plan.hpp"

namespace billfish::cpu_tests {

using cpu::EmulatedAmx;
using EmulatedArithmetics = cpu::ArithmeticsAmx<EmulatedAmx, kEmulatedAvx512>;

const cpu::Arithmetic* emulated_amx() {
  static const auto joined = cpu::join_arithmetics(EmulatedArithmetics::kTable, kEmulatedAvx512);
  return joined.data();
}

// A matrix of signed weights is what the layout says, minus its zero, in quads of k and panel order.
template <int kBits, bool kZeros>
void expect_signed_quads() {
  using U = cpu::Lanes<16>::U;
  using Codec = cpu::Codec<kBits, kZeros>;
  using Arith = cpu::Int8Matrices<EmulatedAmx>;
  std::mt19937 random(5);
  std::uint32_t words[Codec::kBlockWords];
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random());
  cpu::GroupTables tables{};
  for (std::uint32_t& zero : tables.zeros) zero = static_cast<std::uint32_t>(random()) % (1u << kBits);
  alignas(64) std::uint32_t panel[4 * 16 * 4 * 16];
  cpu::decode_panel<Arith, Codec>(words, 0, 1, tables, 0, 8, panel);
  for (int n = 0; n < 64; ++n) {
    const int at = cpu::panel_position(kBits, n);
    const int zero = kBits == 4 && kZeros ? static_cast<int>(tables.zeros[at]) : Codec::kImpliedZero;
    for (int k = 0; k < 16; ++k) {
      const std::uint32_t code =
          words[layout::marlin_word_in_tile(kBits, k, n)] >> layout::marlin_shift_in_tile(kBits, k, n) & ((1u << kBits) - 1u);
      const std::uint32_t quad = panel[(at / 16 * cpu::kChunkSteps * 4 + k / 4) * 16 + at % 16];
      EXPECT_EQ(static_cast<int>(static_cast<std::int8_t>(quad >> (8 * (k % 4)) & 0xffu)), static_cast<int>(code) - zero) << n << " " << k;
    }
  }
  static_assert(sizeof(U) == 64);
}

TEST(AmxDecode, WeightsAreSignedQuads) {
  expect_signed_quads<4, false>();
  expect_signed_quads<4, true>();
  expect_signed_quads<8, false>();
  expect_signed_quads<8, true>();
}

}  // namespace billfish::cpu_tests
