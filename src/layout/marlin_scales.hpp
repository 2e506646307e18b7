// SPDX-License-Identifier: Apache-2.0
// Marlin order of one row of scales (16-bit or f32) and of the bias. Two orders: grouped, when a matrix has more than one group, and per
// column, when it has one. Mixing them up gives plausible wrong numbers, so ask marlin_scale() with the shape's per_column().
//
//   grouped, within 64 columns: an 8 x 8 transposition           per column, within 32 columns (r = 8b + 2a + c -> 8a + 2b + c):
//     position  0  1  2  3  4  5  6  7                              position  0  1  2  3  4  5  6  7
//     column    0  8 16 24 32 40 48 56                              column    0  1  8  9 16 17 24 25
//     position  8  9 10 ...                                         position  8  9 10 ...
//     column    1  9 17 ...                                         column    2  3 10 ...
//
//   Grouped: the lane that owns column n % 8 of all of a tile's 16-column blocks finds their 8 scales in one 16-byte load.
//   Per column: a lane finds the scales of the accumulator columns 2a, 2a + 1 of four blocks of 8 in one 16-byte load.
#pragma once

#include "layout/place.hpp"

namespace billfish::layout {

// Position of column n within its row of scales. Its own inverse.
BILLFISH_HD constexpr std::int64_t marlin_grouped_scale(std::int64_t n) { return n / 64 * 64 + n % 8 * 8 + n % 64 / 8; }

// Likewise for per-column scales and a permuted bias. Its own inverse.
BILLFISH_HD constexpr std::int64_t marlin_column_scale(std::int64_t n) {
  const std::int64_t r = n % 32;
  return n / 32 * 32 + r % 8 / 2 * 8 + r / 8 * 2 + r % 2;
}

BILLFISH_HD constexpr std::int64_t marlin_scale(bool per_column, std::int64_t n) {
  return per_column ? marlin_column_scale(n) : marlin_grouped_scale(n);
}

namespace marlin_scales_proof {

// A map that is its own inverse over [0, 128) and stays inside its block is a bijection of every block.
constexpr bool permutes_blocks(bool per_column, int block) {
  for (int n = 0; n < 128; ++n) {
    const std::int64_t position = marlin_scale(per_column, n);
    if (position / block != n / block || marlin_scale(per_column, position) != n) return false;
  }
  return true;
}
static_assert(permutes_blocks(false, 64) && permutes_blocks(true, 32));
static_assert(marlin_grouped_scale(8) == 1 && marlin_grouped_scale(1) == 8 && marlin_grouped_scale(64 + 9) == 64 + 9);
static_assert(marlin_column_scale(8) == 2 && marlin_column_scale(2) == 8 && marlin_column_scale(25) == 7 && marlin_column_scale(33) == 33);

}  // namespace marlin_scales_proof
}  // namespace billfish::layout
