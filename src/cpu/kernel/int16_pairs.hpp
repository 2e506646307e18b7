// SPDX-License-Identifier: Apache-2.0
// Arithmetic in integers where there is no int8 dot: codes minus zeros and int8 activations as pairs of 16 bits, multiplied and added in
// pairs into 32 bits. Exact for types with and without zeros. Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

template <class Isa>
struct Int16Pairs {
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
  static constexpr int kSlots = 2;  // k pairs (2p, 2p + 1) + 8 * slot
  static constexpr bool kSlotsOutside = false;
  static constexpr bool kByColumns = false;
  static constexpr int kParts = 1;
  static constexpr bool kQuantizes = true;
  static constexpr bool kZeroAfterSum = false;
  static constexpr bool kScalesPanel = false;
  static constexpr bool kScreens = false;
  static constexpr bool kSubnormals = false;

  template <class C>
  struct Zero {
    U both[C::kHalves];  // the zero in both halves of a word
  };

  template <class C>
  [[gnu::always_inline]] static Zero<C> zero(const std::uint32_t* zeros) {
    Zero<C> result;
#pragma GCC unroll 2
    for (int h = 0; h < C::kHalves; ++h) {
      if constexpr (C::kZeros) {
        const U z = repeat<U, C::kWords>(zeros + 4 * h);
        result.both[h] = z | (z << 16);
      } else {
        result.both[h] = splat<U>(static_cast<std::uint32_t>(C::kImpliedZero) * 0x00010001u);
      }
    }
    return result;
  }

  struct Fields {
    U words;
  };
  template <class C, int kRows = 0>
  [[gnu::always_inline]] static Fields fields(U words, const Zero<C>&) {
    return {words};
  }
  template <class C>
  [[gnu::always_inline]] static Weight weight(const Fields& f, const Zero<C>& zero, int h, int slot) {
    constexpr std::uint32_t kMask = C::kBits == 4 ? 0x000f000fu : 0x00ff00ffu;
    return Isa::subtract16((f.words >> (C::kBits * (2 * h + slot))) & kMask, zero.both[h]);
  }

  [[gnu::always_inline]] static Sum dot(Sum sum, Weight w, U a) { return Isa::add32(sum, Isa::multiply_pairs(w, a)); }
  template <class C>
  [[gnu::always_inline]] static F to_float(Sum sum) {
    return __builtin_convertvector(sum, F);
  }

  [[gnu::always_inline]] static void pack(Lanes<8>::U low, Lanes<8>::U high, std::uint32_t* dwords) {
    const auto even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    const auto odd = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
    store(dwords, (even & 0xffffu) | odd << 16);
  }
};

}  // namespace
}  // namespace billfish::cpu
