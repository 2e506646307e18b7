// SPDX-License-Identifier: Apache-2.0
// Arithmetic in f32 for streaming with AVX-512 where bf16 dots are slow: a 4-bit code is looked up, by the low four bits of a lane, in 16
// floats. A shift and a lookup for 16 codes, exact. 8-bit codes as Float32 has them. Included by the kernels' translation units only.
//
// Sums are of codes times activations, scaled afterwards, so activations near the end of f32's range would overflow before they are
// scaled: such rows (and those so small that a multiply-add may take a hundred cycles) go through the tile kernels.
#pragma once

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/float32.hpp"
#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

template <class Isa, bool kRounded>
struct Float32Table : Float32<Isa, kRounded> {
  using Wide = Float32<Isa, kRounded>;
  using F = typename Wide::F;
  using U = typename Wide::U;
  static constexpr bool kScreens = true;
  static constexpr int kScreenLow = -96, kScreenHigh = 96;  // powers of two between which activations must lie

  template <class C>
  struct NibbleZero {
    F table;
    F column[C::kZeros ? C::kHalves : 1];  // stored zeros of columns 16w, 16w + 8
  };
  template <class C>
  using Zero = std::conditional_t<C::kBits == 4, NibbleZero<C>, typename Wide::template Zero<C>>;

  template <class C>
  [[gnu::always_inline]] static Zero<C> zero(const std::uint32_t* zeros) {
    if constexpr (C::kBits == 8) {
      return Wide::template zero<C>(zeros);
    } else {
      NibbleZero<C> result{code_table<F>(C::kZeros ? 0 : C::kImpliedZero), {}};
      if constexpr (C::kZeros) {
        for (int h = 0; h < C::kHalves; ++h)
          result.column[h] = __builtin_convertvector((typename Lanes<Wide::kLanes>::I)repeat<U, C::kWords>(zeros + 4 * h), F);
      }
      return result;
    }
  }
  template <class C, int kRows = 0>
  [[gnu::always_inline]] static typename Wide::Fields fields(U words, const Zero<C>&) {
    return {{words, C::kBits == 4 ? words : words >> 16}};
  }
  template <class C>
  [[gnu::always_inline]] static F weight(const typename Wide::Fields& f, const Zero<C>& zero, int h, int slot) {
    if constexpr (C::kBits == 8) {
      return Wide::template weight<C>(f, zero, h, slot);
    } else {
      const int place = 16 * (slot % 2) + 8 * h + 4 * (slot / 2);
      const F code = Isa::lookup32(place == 0 ? f.half[0] : f.half[0] >> place, zero.table);
      return C::kZeros ? code - zero.column[h] : code;
    }
  }
};

}  // namespace
}  // namespace billfish::cpu
