// SPDX-License-Identifier: Apache-2.0
// Arithmetic with the int8 dot instruction: unsigned codes times signed activations, four k at a time, exact in 32 bits; zero times the
// sum of the activations is subtracted at the end of a chunk, exactly too. Included by the kernels' translation units only.
//
// An 8-bit word is a quad as it is: k = 2p, 2p + 8, 2p + 1, 2p + 9. A 4-bit word holds two quads in that order, one nibble apart.
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
  static constexpr int kParts = 1;
  static constexpr bool kQuantizes = true;
  static constexpr bool kZeroAfterSum = true;
  static constexpr bool kScalesPanel = false;
  static constexpr bool kScreens = false;
  static constexpr bool kSubnormals = false;

  template <class C>
  struct Zero {};
  template <class C>
  [[gnu::always_inline]] static Zero<C> zero(const std::uint32_t*) {
    return {};
  }

  struct Fields {
    U words;
  };
  template <class C, int kRows = 0>
  [[gnu::always_inline]] static Fields fields(U words, const Zero<C>&) {
    return {words};
  }
  template <class C>
  [[gnu::always_inline]] static Weight weight(const Fields& f, const Zero<C>&, int h, int) {
    if constexpr (C::kBits == 8) return f.words;
    if (h == 0) return (f.words & 0x000f000fu) | ((f.words << 4) & 0x0f000f00u);
    return ((f.words >> 8) & 0x000f000fu) | ((f.words >> 4) & 0x0f000f00u);
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
