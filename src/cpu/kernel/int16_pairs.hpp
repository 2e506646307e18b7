// SPDX-License-Identifier: Apache-2.0
// Arithmetic in integers where there is no int8 dot: codes minus zeros and int8 activations as pairs of 16 bits, multiplied and added in
// pairs into 32 bits. Exact for types with and without zeros. Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

// To nearest even for |value| < 2^22: adding 1.5 * 2^23 leaves the integer in the low bits.
[[gnu::always_inline]] inline std::int32_t round_to_int(float value) {
  float shifted = value + 12582912.0f;
  std::int32_t bits;
  std::memcpy(&bits, &shifted, 4);
  return bits - 0x4b400000;
}

template <class Isa>
struct Int16Pairs {
  static constexpr int kLanes = Isa::kLanes;
  using F = typename Lanes<kLanes>::F;
  using U = typename Lanes<kLanes>::U;
  using I = typename Lanes<kLanes>::I;
  using Weight = U;
  using Sum = I;
  using Partial = Sum;
  static constexpr int kDotsAPartial = 0;
  static constexpr int kSlots = 2;  // k pairs (2p, 2p + 1) + 8 * slot
  static constexpr bool kSlotsOutside = false;
  static constexpr int kParts = 1;
  static constexpr bool kQuantizes = true;
  static constexpr bool kZeroAfterSum = false;
  static constexpr bool kScreens = false;

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

  template <int kBits>
  [[gnu::always_inline]] static void pack(const float* a, float inverse, std::uint32_t* dwords) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const std::uint32_t even = static_cast<std::uint32_t>(round_to_int(a[2 * i] * inverse));
      const std::uint32_t odd = static_cast<std::uint32_t>(round_to_int(a[2 * i + 1] * inverse));
      dwords[i] = (even & 0xffffu) | (odd << 16);
    }
  }
};

}  // namespace
}  // namespace billfish::cpu
