// SPDX-License-Identifier: Apache-2.0
// Float32Sums without the conversion, for processors that multiply subnormal numbers as fast as others (Zen 3: 0.52 and 0.51 cycles):
// a field masked where it lies, read as f32, is the subnormal number code * 2^(place - 149), exactly. The activations are scaled up by
// 2^kUp, which leaves room for 2^-40 <= |a| < 2^50 and sums that are normal; other rows go through Float32.
// Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/float32_sums.hpp"

namespace billfish::cpu {
namespace {

template <class Isa, bool kRounded>
struct Float32Subnormals : Float32Sums<Isa, kRounded> {
  using Base = Float32Sums<Isa, kRounded>;
  using F = typename Base::F;
  using Weight = F;
  using Sum = F;
  static constexpr float kUp = 0x1p70f, kDown = 0x1p-70f, kSumUp = 0x1p79f;  // kUp * kSumUp is 2^149
  static constexpr bool kSubnormals = true;
  static constexpr int kScreenLow = -40, kScreenHigh = 50;

  template <class C>
  [[gnu::always_inline]] static Weight weight(const typename Base::Fields& f, const typename Base::template Zero<C>&, int h, int slot) {
    return (F)(f.half[slot % 2] & f.masks[2 * h + slot / 2]);
  }
  template <class C>
  [[gnu::always_inline]] static F to_float(Sum sum) {
    return Base::template to_float<C>(sum * kSumUp);
  }
  template <int kBits>
  [[gnu::always_inline]] static void pack(Lanes<8>::F low, Lanes<8>::F high, std::uint32_t* dwords) {
    Base::template pack<kBits>(low, high, dwords);
    using V = Lanes<8>::F;
    store(dwords, load<V>(dwords) * kUp);
    store(dwords + 8, load<V>(dwords + 8) * kUp);
  }
  template <int kBits>
  [[gnu::always_inline]] static void add_to_sums(const std::uint32_t* dwords, float* sums) {
    using V = Lanes<8>::F;
    store(sums, load<V>(sums) + load<V>(dwords) * kDown + load<V>(dwords + 8) * ((kBits == 4 ? 0x1p4f : 0x1p8f) * kDown));
  }
};

}  // namespace
}  // namespace billfish::cpu
