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
  static constexpr int kPanelSteps = cpu::kChunkSteps;
  static constexpr bool kPanelOfCodes = false, kTilesWideCodes = true;
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

// Tiles that decode as they multiply. Rows: bf16 dots take six cycles, int8 dots four, so two a cycle need 14 sums, or 10, that take turns.
// Together with as many of the panel, 4 vectors of weights and an activation that is more than 32 registers, and a few sums of the panel
// wait in memory: 16 of bf16 (14 left it waiting for its weights) are 1 to 2 % faster than 14, of int8 14 are as much faster than 16.
template <class Isa, class Base>
struct Codes512 : Tuned512<Isa, Base> {
  static constexpr int kTileRows = Base::kQuantizes ? 7 : 8;
  static constexpr int kRowBlock = 256;   // L3: activations of 512 rows and many columns, 15 MB, take 1 to 2 % longer (Zen 5, M = 512)
  static constexpr int kPanelSteps = 64;  // 32 KB of 4-bit codes, of which a call reads half at a time
  static constexpr bool kPanelOfCodes = true;
  static constexpr bool kTilesWideCodes = Base::kQuantizes;  // 8-bit codes as bf16 take too long to decode beside the dots
  // Codes are read again for every vector of weights: kept, they would take the place of a sum.
  [[gnu::always_inline]] static void forget_panel(const std::uint32_t*& panel) { __asm__("" : "+r"(panel)); }
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
  using RoundedCodes = Codes512<Isa, Bf16Pairs<Isa, 1>>;
  using Int8Codes = Codes512<Isa, Int8Quads<Isa>>;
  // Up to which streams are the faster ones: Zen 5 where bf16 dots are fast, the Xeon where they are not (docs/kernels/cpu.md).
  static constexpr int kSplitRows = 64, kWideRows = 64, kRows = 31, kSlowRows = 16, kSlowFloatRows = 8;
  static constexpr Arithmetic kTable[7] = {
      {stream_kernels<Isa, Split, Split>("bf16 dot, activations hi + lo"), tile_kernels<Isa, Float, Float>("f32"), kSplitRows},
      {stream_kernels<Isa, Rounded, Rounded>("bf16 dot"), tile_kernels<Isa, RoundedCodes, RoundedCodes>("bf16 dot"), kRows},
      {stream_kernels<Isa, Int8, Int8>("int8 dot"), tile_kernels<Isa, Int8Codes, Int8Codes>("int8 dot"), kRows},
      {stream_kernels<Isa, Table, TableOfBf16>("f32 of bf16, codes looked up"), tile_kernels<Isa, Float, FloatOfBf16>("f32 of bf16"),
       kSlowFloatRows},
      {stream_kernels<Isa, Table, Table>("f32, codes looked up"), tile_kernels<Isa, Float, Float>("f32"), kSlowFloatRows},
      {stream_kernels<Isa, Int8, Int8>("int8 dot"), tile_kernels<Isa, Int8, Int8>("int8 dot"), kSlowRows},
      {stream_kernels<Isa, Rounded, Rounded>("bf16 dot"), tile_kernels<Isa, Rounded, Rounded>("bf16 dot"), kWideRows},
  };
};

}  // namespace
}  // namespace billfish::cpu
