// SPDX-License-Identifier: Apache-2.0
// Arithmetic in f32 for streaming without AVX-512: the fewest instructions a code. A field is masked where it lies and converted:
// code * 2^(place of the field). The places are undone by scaling the activations (for k) and the sums (for the two columns that share
// a word) by powers of two, which is exact for 2^-96 <= |a| < 2^96; zero times the sum of the activations is subtracted at the end of a
// chunk. Rows with other activations (infinities too) go through Float32. Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/float32.hpp"
#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

template <class Isa, bool kRounded>
struct Float32Sums {
  static constexpr int kLanes = Isa::kLanes;
  using F = typename Lanes<kLanes>::F;
  using U = typename Lanes<kLanes>::U;
  using I = typename Lanes<kLanes>::I;
  using Weight = F;
  using Sum = F;
  using Partial = Sum;
  static constexpr int kChunkSteps = cpu::kChunkSteps;
  static constexpr int kPartialSteps = 0;
  static constexpr bool kJoinsHalves = false;
  static constexpr int kCentre = 0;
  static constexpr int kBeginWords = 0;
  static constexpr int kSlots = 4;  // as Float32
  static constexpr bool kSlotsOutside = true;
  static constexpr bool kByColumns = false;
  static constexpr int kParts = 1;
  static constexpr bool kQuantizes = false;
  static constexpr bool kZeroAfterSum = true;
  static constexpr bool kScreens = true;
  static constexpr bool kSubnormals = false;                // codes are multiplied as subnormal numbers
  static constexpr int kScreenLow = -96, kScreenHigh = 96;  // powers of two between which activations must lie

  template <class C>
  struct Zero {};
  template <class C>
  [[gnu::always_inline]] static Zero<C> zero(const std::uint32_t*) {
    return {};
  }

  template <class C>
  struct alignas(sizeof(U)) Masks {
    std::uint32_t words[C::kFields * kLanes];
    constexpr Masks() : words() {
      for (int i = 0; i < C::kFields * kLanes; ++i) words[i] = ((1u << C::kBits) - 1u) << (C::kBits * (i / kLanes));
    }
  };
  struct Fields {
    U half[2];
    const U* masks;
  };
  template <class C, int kRows = 0>
  [[gnu::always_inline]] static Fields fields(U words, const Zero<C>&) {
    // Eight sums and four activations leave no registers for the masks; told that the pointer changes, the compiler leaves them in memory.
    static constexpr Masks<C> kMasks;
    const U* masks = reinterpret_cast<const U*>(kMasks.words);
    if constexpr (kRows > 1) __asm__("" : "+r"(masks));
    return {{words, words >> 16}, masks};
  }
  // code * 2^(place): 4-bit 2^(8h + 4 upper), 8-bit 2^(8 upper).
  template <class C>
  [[gnu::always_inline]] static Weight weight(const Fields& f, const Zero<C>&, int h, int slot) {
    return __builtin_convertvector((I)(f.half[slot % 2] & f.masks[2 * h + slot / 2]), F);
  }

  [[gnu::always_inline]] static Sum dot(Sum sum, Weight w, U a) { return Isa::multiply_add(w, (F)a, sum); }
  // Sums in panel order -> values: the column 8h of a 4-bit word carries 2^8 too much.
  template <class C>
  [[gnu::always_inline]] static F to_float(Sum sum) {
    if constexpr (C::kBits == 4 && kLanes == 8)
      return sum * F{1, 1, 1, 1, 0x1p-8f, 0x1p-8f, 0x1p-8f, 0x1p-8f};
    else
      return sum;
  }

  // As Float32::pack, with 2^-place of the k half on rows 8..15 of a step.
  template <int kBits>
  [[gnu::always_inline]] static void pack(Lanes<8>::F low, Lanes<8>::F high, std::uint32_t* dwords) {
    Float32<Isa, kRounded>::template pack<kBits>(low, high, dwords);
    using V = Lanes<8>::F;
    store(dwords + 8, load<V>(dwords + 8) * (kBits == 4 ? 0x1p-4f : 0x1p-8f));
  }
  // Eight running sums of the activations as packed, places undone.
  template <int kBits>
  [[gnu::always_inline]] static void add_to_sums(const std::uint32_t* dwords, float* sums) {
    using V = Lanes<8>::F;
    store(sums, load<V>(sums) + load<V>(dwords) + load<V>(dwords + 8) * (kBits == 4 ? 0x1p4f : 0x1p8f));
  }
};

}  // namespace
}  // namespace billfish::cpu
