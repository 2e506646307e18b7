// SPDX-License-Identifier: Apache-2.0
// Codes into a panel for tile kernels: [column vector][step][slot][k pair][V columns], columns in panel order. Called by tile.hpp.
// Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/group.hpp"

namespace billfish::cpu {
namespace {

// One column vector of 16 lanes of one block, `steps` steps with one set of scales and zeros, into the panel: words become columns before
// they are decoded, which takes one shuffle for each k pair, or for two quads.
template <class Arith, class C>
[[gnu::always_inline]] inline void decode_columns(const std::uint32_t* words, std::int64_t row_words, std::int64_t steps,
                                                  const GroupTables& tables, int j0, std::uint32_t* out) {
  constexpr int kDwords = Arith::kSlots * 4;
  const auto scale = load<typename Arith::F>(tables.scales + 8 * j0);
  const auto table = Arith::template column_table<C>(tables.zeros + 8 * j0);
  for (std::int64_t step = 0; step < steps; ++step, words += row_words, out += kDwords * Arith::kLanes) {
#pragma GCC unroll 4
    for (int unit = 0; unit < Arith::kUnits; ++unit) {
      const auto codes = Arith::template column_codes<C>(words, unit);
#pragma GCC unroll 4
      for (int d = unit; d < kDwords; d += Arith::kUnits) {
        auto weight = Arith::template column_weight<C>(codes, table, d / Arith::kUnits);
        if constexpr (Arith::kScalesPanel) weight *= scale;
        store(out + d * Arith::kLanes, weight);
      }
    }
  }
}

// One column vector of one block, `steps` steps with one set of scales and zeros, into the panel. Of 8 lanes: what
// words decode to becomes columns.
template <class Arith, class C>
[[gnu::always_inline]] inline void decode_lines(const std::uint32_t* words, std::int64_t row_words, std::int64_t steps,
                                                const GroupTables& tables, int j0, std::uint32_t* out) {
  using U = typename Arith::U;
  using Weight = typename Arith::Weight;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kPairs = kLanes / C::kWords;
  constexpr int kVectors = 4 / kPairs;
  const auto scale = load<typename Arith::F>(tables.scales + 8 * j0);
  const auto zero = Arith::template zero<C>(tables.zeros + 8 * j0);
  for (std::int64_t step = 0; step < steps; ++step, words += row_words, out += Arith::kSlots * 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const auto fields = Arith::template fields<C>(load<U>(words + v * kLanes), zero);
#pragma GCC unroll 4
      for (int slot = 0; slot < Arith::kSlots; ++slot) {
        Weight in[kPairs], columns[kPairs];
#pragma GCC unroll 2
        for (int h = 0; h < kPairs; ++h) in[h] = Arith::template weight<C>(fields, zero, h, slot);
        pairs_to_columns<kPairs>(in, columns);
#pragma GCC unroll 2
        for (int i = 0; i < kPairs; ++i) {
          if constexpr (Arith::kScalesPanel) columns[i] *= scale;
          store(out + (slot * 4 + v * kPairs + i) * kLanes, columns[i]);
        }
      }
    }
  }
}

// Columns of the j in [j_begin, j_end).
template <class Arith, class C>
[[gnu::always_inline]] inline void decode_panel(const std::uint32_t* codes, std::int64_t row_words, std::int64_t steps,
                                                const GroupTables& tables, int j_begin, int j_end, std::uint32_t* panel) {
  constexpr int kColumns = Arith::kLanes / 8;  // j that share a column vector
  for (int j = j_begin; j < j_end; j += kColumns, panel += kChunkSteps * Arith::kSlots * 4 * Arith::kLanes) {
    const std::uint32_t* words = codes + j * 4 * C::kWords;
    if constexpr (Arith::kLanes == 16)
      decode_columns<Arith, C>(words, row_words, steps, tables, j, panel);
    else
      decode_lines<Arith, C>(words, row_words, steps, tables, j, panel);
  }
}

}  // namespace
}  // namespace billfish::cpu
