// SPDX-License-Identifier: Apache-2.0
// What a kernel must know of a weight type, and of where its codes lie in a vector. Included by the kernels' translation units only.
//
// A vector of V words of one block holds V / W pairs of k, each W words wide (W = bits): word t of the vector is k pair t / W and
// columns {16w + 8h + j}: all w (4-bit; h is inside the word) or all (w, h) (8-bit) for one j.
#pragma once

#include <cstdint>

#include "cpu/kernels.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"

namespace billfish::cpu {
namespace {  // internal: every instruction set compiles its own copy

template <int kBitsArg, bool kZerosArg>
struct Codec {
  static constexpr int kBits = kBitsArg;
  static constexpr bool kZeros = kZerosArg;   // zero points are stored; else the implied one
  static constexpr int kWords = kBits;        // W
  static constexpr int kHalves = 8 / kBits;   // columns that share a word, 8 apart: 2 or 1
  static constexpr int kFields = 16 / kBits;  // codes in half a word: an even or an odd k
  static constexpr int kImpliedZero = kBits == 4 ? 8 : 128;
  static constexpr int kBlockWords = 32 * kBits;  // words of 16 (k) x 64 (n)
};

// Position of column n (0..63) of a block in panel order.
constexpr int panel_position(int bits, int n) {
  const int w = n / 16, h = n % 16 / 8, j = n % 8;
  return 8 * j + (bits == 4 ? 4 * h + w : 2 * w + h);
}

// The claims above, against the layout maps: word and bit of element (kk, nn) as this folder reads them.
constexpr bool reads_the_layout(int bits) {
  for (int kk = 0; kk < 16; ++kk) {
    for (int nn = 0; nn < 64; ++nn) {
      const int w = nn / 16, h = nn % 16 / 8, j = nn % 8, pair = kk % 8 / 2, odd = kk % 2, upper = kk / 8;
      const int word = bits == 4 ? j * 16 + pair * 4 + w : j * 32 + pair * 8 + 2 * w + h;
      const int shift = bits == 4 ? 16 * odd + 8 * h + 4 * upper : 16 * odd + 8 * upper;
      if (word != layout::marlin_word_in_tile(bits, kk, nn) || shift != layout::marlin_shift_in_tile(bits, kk, nn)) return false;
    }
  }
  for (int nn = 0; nn < 64; ++nn) {
    const int w = nn / 16, h = nn % 16 / 8, j = nn % 8, q = panel_position(bits, nn) % 8;
    if (layout::marlin_grouped_scale(nn) != 8 * j + 2 * w + h) return false;
    const layout::Place zero = layout::marlin_zero(bits, 0, nn, 64);
    if (bits == 4 && (zero.word != j || zero.shift != 4 * q)) return false;
    if (bits == 8 && (zero.word != 2 * j + q / 4 || zero.shift != 8 * (q % 4 / 2 + q % 2 * 2))) return false;
  }
  return true;
}
static_assert(reads_the_layout(4) && reads_the_layout(8));

// Where the panel of a tile kernel ends that begins with step `begin`: whole chunks only.
template <class Arith>
constexpr std::int64_t end_of_panel(std::int64_t begin, std::int64_t steps, std::int64_t group_steps) {
  std::int64_t end = begin;
  while (end < steps) {
    std::int64_t stop = end + Arith::kChunkSteps;
    const std::int64_t group_end = (end / group_steps + 1) * group_steps;
    if (stop > group_end) stop = group_end;
    if (stop > steps) stop = steps;
    if (stop > begin + Arith::kPanelSteps) break;
    end = stop;
  }
  return end;
}

// Position in a row of per-column scales of panel position i.
template <int kBits>
struct ColumnOrder {
  std::uint8_t from[64];
  constexpr ColumnOrder() : from() {
    for (int n = 0; n < 64; ++n) from[panel_position(kBits, n)] = static_cast<std::uint8_t>(layout::marlin_column_scale(n));
  }
};

}  // namespace
}  // namespace billfish::cpu
