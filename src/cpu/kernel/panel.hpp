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

// Codes of the next decoded panel, asked for into L2 a step or two for every chunk: a burst of them holds up the dots until memory has
// answered.
struct CodeFetch {
  const std::uint32_t* codes;
  std::int64_t row_words;
  int block_words;
  std::int64_t steps, turns;
  std::int64_t due = 0;
  [[gnu::always_inline]] void some() {
    for (due += steps; due >= turns; due -= turns, codes += row_words) {
      for (int word = 0; word < block_words; word += 128) {
#pragma GCC unroll 8
        for (int line = 0; line < 128; line += 16) __builtin_prefetch(codes + word + line, 0, 2);
      }
    }
  }
};

// Codes of a block on their way into a panel of codes, half a step at a time, evenly over the steps that are multiplied meanwhile.
struct PanelSort {
  const std::uint32_t* codes;  // of the next row
  std::int64_t row_words;
  std::uint32_t* panel;
  std::int64_t row, steps;           // of all K
  std::int64_t asked;                // rows from those put into columns to those asked for, in L1
  std::int64_t after;                // from where rows would go on behind the last one to the block that comes next
  std::int64_t left = 0;             // halves
  std::int64_t each = 0, turns = 1;  // so many halves for so many steps
  bool each_step = false;            // or once a chunk
  std::int64_t pair = 0, turn = 0;
  [[gnu::always_inline]] bool due(std::int64_t count) {
    turn += each * count;
    if (turn < turns) return false;
    turn -= turns;
    return left > 0;
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
  float* sums;       // at the tile's first row
  CodeFetch* fetch;  // of decoded panels
  PanelSort* sort;   // of panels of codes
};

}  // namespace
}  // namespace billfish::cpu
