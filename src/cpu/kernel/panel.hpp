// SPDX-License-Identifier: Apache-2.0
// What the tiles of decoded panels and of panels of codes have in common. Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/group.hpp"

namespace billfish::cpu {
namespace {

// Bytes of a panel that stays in L1 with a tile of rows beside it. AVX-512: measured with an L1 of 48 KB (Zen 5; the Xeon has as much),
// not with a Zen 4's 32.
template <class Arith>
constexpr int kPanelInL1 = Arith::kLanes == 16 ? 32768 : 16384;

// Columns decoded at a time: a whole block, or as many as one call of a tile kernel multiplies.
template <class Arith>
constexpr int panel_columns() {
  if (Arith::kPanelOfCodes) return kBlockColumns;
  constexpr int kColumnBytes = kChunkSteps * Arith::kSlots * 4 * 4;
  return kColumnBytes * kBlockColumns <= kPanelInL1<Arith> ? kBlockColumns : Arith::kLanes * Arith::kTileVectors;
}

template <class Arith>
constexpr std::int64_t panel_words() {
  if (Arith::kPanelOfCodes) return 2 * std::int64_t{Arith::kPanelSteps} * Codec<8, false>::kBlockWords;  // this one and the next
  return std::int64_t{Arith::kPanelSteps} * Arith::kSlots * 4 * panel_columns<Arith>();
}

// Codes of the next panel, asked for a step or two for every chunk: a burst of them holds up the dots until memory has answered.
struct CodeFetch {
  const std::uint32_t* codes;
  std::int64_t row_words;
  int block_words;
  std::int64_t steps, turns;
  std::int64_t due = 0;
  // kCache: 2 for L2, 3 for L1.
  template <int kCache>
  [[gnu::always_inline]] void some() {
    for (due += steps; due >= turns; due -= turns, codes += row_words) {
      for (int word = 0; word < block_words; word += 128) {
#pragma GCC unroll 8
        for (int line = 0; line < 128; line += 16) __builtin_prefetch(codes + word + line, 0, kCache);
      }
    }
  }
};

// What a tile kernel does for one panel; one chunk an entry of the tables.
struct PanelArgs {
  const std::uint32_t* panel;
  const std::uint32_t* a;  // of this tile of rows, at the panel's first step
  std::int64_t ahead;      // from there to the tile that comes next
  const GroupTables* tables;
  const int* chunk_steps;
  int chunks;
  int column_begin, column_end;  // panel positions; panels of codes: all
  bool first;                    // no sums yet
  const float* row_scales;       // at the panel's first chunk and the tile's first row
  const float* row_sums;
  const std::uint32_t* begins;
  std::int64_t row_stride;
  float* sums;  // at the tile's first row
  CodeFetch* fetch;
};

}  // namespace
}  // namespace billfish::cpu
