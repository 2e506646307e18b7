// SPDX-License-Identifier: Apache-2.0
// Marlin order of the zero points: int32 [groups, padded_n * bits / 32]. The grouped order of the scales, packed, with the fields of a
// word interleaved so that the decode of weights (low half, high half) yields them in the order of the lane's 16-column blocks.
//
//   4-bit: word 8c + i holds columns 64c + i + 8j, j = 0..7             8-bit: words 16c + 2i (j = 0..3) and 16c + 2i + 1 (j = 4..7)
//     bit  28  24  20  16  12   8   4   0                                  bit  24  16   8   0
//     j     7   5   3   1   6   4   2   0                                  j     3   1   2   0   (+ 4 in the second word)
#pragma once

#include "layout/place.hpp"

namespace billfish::layout {

// {0,4,1,5,2,6,3,7}[j]: the nibble of the j-th of eight values when even ones fill the low half and odd ones the high half.
BILLFISH_HD constexpr int interleave8(int j) { return j / 2 + j % 2 * 4; }
BILLFISH_HD constexpr int deinterleave8(int i) { return i % 4 * 2 + i / 4; }  // {0,2,4,6,1,3,5,7}[i]
BILLFISH_HD constexpr int interleave4(int j) { return j / 2 + j % 2 * 2; }    // {0,2,1,3}[j], its own inverse

BILLFISH_HD constexpr std::int64_t marlin_zero_row_words(int bits, std::int64_t padded_n) { return padded_n * bits / 32; }

BILLFISH_HD constexpr Place marlin_zero(int bits, std::int64_t group, std::int64_t n, std::int64_t padded_n) {
  const std::int64_t row = group * marlin_zero_row_words(bits, padded_n);
  const int i = static_cast<int>(n % 8);
  const int j = static_cast<int>(n % 64 / 8);
  if (bits == 4) return {row + n / 64 * 8 + i, 4 * interleave8(j)};
  return {row + n / 64 * 16 + 2 * i + j / 4, 8 * interleave4(j % 4)};
}

// The column of the field at `shift` of a row's word.
BILLFISH_HD constexpr std::int64_t marlin_zero_column(int bits, std::int64_t in_row, int shift) {
  if (bits == 4) return in_row / 8 * 64 + in_row % 8 + 8 * deinterleave8(shift / 4);
  const std::int64_t j = in_row % 2 * 4 + interleave4(shift / 8);
  return in_row / 16 * 64 + in_row % 16 / 2 + 8 * j;
}
BILLFISH_HD constexpr Element marlin_zero_element(int bits, std::int64_t word, int shift, std::int64_t padded_n) {
  const std::int64_t row_words = marlin_zero_row_words(bits, padded_n);
  return {word / row_words, marlin_zero_column(bits, word % row_words, shift)};
}

namespace marlin_zeros_proof {

constexpr int kColumns = 128;
static_assert(covers_exactly<48>(4, 3, 128, [](int g, int n) { return marlin_zero(4, g, n, kColumns); }));
static_assert(covers_exactly<96>(8, 3, 128, [](int g, int n) { return marlin_zero(8, g, n, kColumns); }));
static_assert(inverts(
    3, 128, [](int g, int n) { return marlin_zero(4, g, n, kColumns); },
    [](Place p) { return marlin_zero_element(4, p.word, p.shift, kColumns); }));
static_assert(inverts(
    3, 128, [](int g, int n) { return marlin_zero(8, g, n, kColumns); },
    [](Place p) { return marlin_zero_element(8, p.word, p.shift, kColumns); }));
static_assert(marlin_zero(4, 0, 3 + 8 * 5, 64) == Place{3, 24} && marlin_zero(8, 0, 3 + 8 * 5, 64) == Place{7, 16});

}  // namespace marlin_zeros_proof
}  // namespace billfish::layout
