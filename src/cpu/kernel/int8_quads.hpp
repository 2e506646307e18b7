// SPDX-License-Identifier: Apache-2.0
// Arithmetic with the int8 dot instruction: unsigned codes times signed activations, four k at a time, exact in 32 bits; zero times the
// sum of the activations is subtracted at the end of a chunk, exactly too. Included by the kernels' translation units only.
//
// An 8-bit word is a quad as it is: k = 2p, 2p + 8, 2p + 1, 2p + 9. A 4-bit word holds two quads in that order, of nibbles at bits 0, 4,
// 16, 20 and 8, 12, 24, 28: bytes that begin there, then a mask.
#pragma once

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/int16_pairs.hpp"
#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

template <class Isa>
struct Int8Quads {
  static constexpr int kLanes = Isa::kLanes;
  using F = typename Lanes<kLanes>::F;
  using U = typename Lanes<kLanes>::U;
  using I = typename Lanes<kLanes>::I;
  using Weight = U;
  using Sum = I;
  using Partial = Sum;
  static constexpr int kChunkSteps = cpu::kChunkSteps;
  static constexpr int kPartialSteps = 0;
  static constexpr bool kJoinsHalves = false;
  static constexpr int kCentre = 0;
  static constexpr int kBeginWords = 0;
  static constexpr int kSlots = 1;
  static constexpr bool kSlotsOutside = false;
  static constexpr bool kByColumns = true;
  static constexpr int kParts = 1;
  static constexpr bool kQuantizes = true;
  static constexpr bool kZeroAfterSum = true;
  static constexpr bool kScalesPanel = false;
  static constexpr bool kScreens = false;
  static constexpr bool kSubnormals = false;

  template <class C>
  struct ColumnTable {};
  template <class C>
  [[gnu::always_inline]] static ColumnTable<C> column_table(const std::uint32_t*) {
    return {};
  }
  // Where each byte of a quad begins, in the 64 bits that its word lies in: columns 16w, then 16w + 8; even and odd words.
  static constexpr std::uint32_t quad_begins(int second, int odd) { return 0x14100400u + 0x01010101u * (8u * second + 32u * odd); }
  template <class C>
  [[gnu::always_inline]] static Weight column_weight(U words, const ColumnTable<C>&, int) {
    if constexpr (C::kBits == 8) return words;
    constexpr std::uint32_t a = quad_begins(0, 0), b = quad_begins(0, 1), c = quad_begins(1, 0), d = quad_begins(1, 1);
    constexpr U kBegins = {a, b, a, b, c, d, c, d, a, b, a, b, c, d, c, d};
    return Isa::select_bytes(words, kBegins) & 0x0f0f0f0fu;
  }

  [[gnu::always_inline]] static Sum dot(Sum sum, Weight w, U a) { return Isa::dot_u8_s8(sum, w, a); }
  template <class C>
  [[gnu::always_inline]] static F to_float(Sum sum) {
    return __builtin_convertvector(sum, F);
  }

  [[gnu::always_inline]] static void pack(Lanes<8>::U low, Lanes<8>::U high, std::uint32_t* dwords) {
    const Lanes<8>::U both = (low & 0xffu) | (high & 0xffu) << 8;  // k and k + 8
    const auto even = __builtin_shufflevector(both, both, 0, 2, 4, 6);
    const auto odd = __builtin_shufflevector(both, both, 1, 3, 5, 7);
    store(dwords, even | odd << 16);
  }
};

}  // namespace
}  // namespace billfish::cpu
