// SPDX-License-Identifier: Apache-2.0
// The AVX-512 backend but for its instructions: which arithmetic each precision uses, and how large its tiles are. Included by
// kernels_avx512.cpp with the instructions, and by a test with an emulation of them, so that this code runs on every machine.
#pragma once

#include "cpu/kernel/bf16_pairs.hpp"
#include "cpu/kernel/float32.hpp"
#include "cpu/kernel/float32_table.hpp"
#include "cpu/kernel/int8_quads.hpp"
#include "cpu/kernel/table.hpp"

namespace billfish::cpu {
namespace {

template <class Isa, class Base>
struct Tuned512 : Base {
  static constexpr int kStreamRows = Base::kByColumns ? 12 : 4;
  static constexpr int kTileRows = 12;  // 24 sums, 2 column vectors, 1 activation: 27 of 32 registers
  static constexpr int kTileVectors = 2;
  static constexpr int kRowBlock = 512;  // L2: 1 MB or more
  // 16 sums, 12 for three rows (24 spill). By columns: 24 sums at most.
  template <class C>
  static constexpr int stream_columns(int rows) {
    if (Base::kByColumns) return rows <= 4 ? 8 : 4;
    if (C::kBits == 4) return rows == 1 ? 8 : rows == 2 ? 4 : 2;
    return 4;
  }
  [[gnu::always_inline]] static void once(typename Base::U&) {}  // registers enough
  [[gnu::always_inline]] static void forget(const std::uint32_t*&) {}
  [[gnu::always_inline]] static typename Base::F fma(typename Base::F a, typename Base::F b, typename Base::F c) {
    return Isa::multiply_add(a, b, c);
  }
};

template <class Isa>
struct Arithmetics512 {
  using Split = Tuned512<Isa, Bf16Pairs<Isa, 2>>;
  using Rounded = Tuned512<Isa, Bf16Pairs<Isa, 1>>;
  using Float = Tuned512<Isa, Float32<Isa, false>>;
  using FloatOfBf16 = Tuned512<Isa, Float32<Isa, true>>;
  using Table = Tuned512<Isa, Float32Table<Isa, false>>;
  using TableOfBf16 = Tuned512<Isa, Float32Table<Isa, true>>;
  using Int8 = Tuned512<Isa, Int8Quads<Isa>>;
  // Up to which streams are the faster ones: Zen 5 where bf16 dots are fast, the Xeon where they are not (docs/kernels/cpu.md).
  static constexpr int kRows = 64, kSlowRows = 16, kSlowFloatRows = 8;
  static constexpr Arithmetic kTable[6] = {
      {stream_kernels<Isa, Split, Split>("bf16 dot, activations hi + lo"), tile_kernels<Isa, Float, Float>("f32"), kRows},
      {stream_kernels<Isa, Rounded, Rounded>("bf16 dot"), tile_kernels<Isa, Rounded, Rounded>("bf16 dot"), kRows},
      {stream_kernels<Isa, Int8, Int8>("int8 dot"), tile_kernels<Isa, Int8, Int8>("int8 dot"), kRows},
      {stream_kernels<Isa, Table, TableOfBf16>("f32 of bf16, codes looked up"), tile_kernels<Isa, Float, FloatOfBf16>("f32 of bf16"),
       kSlowFloatRows},
      {stream_kernels<Isa, Table, Table>("f32, codes looked up"), tile_kernels<Isa, Float, Float>("f32"), kSlowFloatRows},
      {stream_kernels<Isa, Int8, Int8>("int8 dot"), tile_kernels<Isa, Int8, Int8>("int8 dot"), kSlowRows},
  };
};

}  // namespace
}  // namespace billfish::cpu
