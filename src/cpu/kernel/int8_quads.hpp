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
  static constexpr int kDotsAPartial = 0;
  static constexpr int kSlots = 1;
  static constexpr bool kSlotsOutside = false;
  static constexpr int kParts = 1;
  static constexpr bool kQuantizes = true;
  static constexpr bool kZeroAfterSum = true;
  static constexpr bool kScreens = false;

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

  template <int kRepeat>
  [[gnu::always_inline]] static void pack(const float* a, float inverse, std::uint32_t* dwords) {
    std::uint32_t q[kStepRows];
    for (int i = 0; i < kStepRows; ++i) q[i] = static_cast<std::uint32_t>(round_to_int(a[i] * inverse)) & 0xffu;
    for (int p = 0; p < 4; ++p) dwords[p] = q[2 * p] | q[2 * p + 8] << 8 | q[2 * p + 1] << 16 | q[2 * p + 9] << 24;
  }
  // Sums of the quantised activations: adding 1.5 * 2^23 rounds to an integer, as pack() does.
  template <int kRepeat>
  [[gnu::always_inline]] static void add_to_sums(const float* a, float inverse, const std::uint32_t*, float* sums) {
    using V = Lanes<8>::F;
    const auto rounded = [inverse](V v) { return (v * inverse + 12582912.0f) - 12582912.0f; };
    store(sums, load<V>(sums) + rounded(load<V>(a)) + rounded(load<V>(a + 8)));
  }
};

// The same where bytes are multiplied into 16-bit pairs (vpmaddubsw), 4-bit codes only: eight products of two stay below 2^15
// (8 * 2 * 15 * 127 = 30480), then they are widened.
template <class Isa>
struct Int8Pairs : Int8Quads<Isa> {
  using U = typename Int8Quads<Isa>::U;
  using I = typename Int8Quads<Isa>::I;
  using Partial = U;
  static constexpr int kDotsAPartial = 8;
  [[gnu::always_inline]] static Partial dot(Partial sum, U w, U a) { return Isa::add16(sum, Isa::multiply_bytes(w, a)); }
  [[gnu::always_inline]] static I widen(I sum, Partial partial) { return sum + Isa::multiply_pairs(partial, splat<U>(0x00010001u)); }
};

}  // namespace
}  // namespace billfish::cpu
