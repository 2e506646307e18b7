// SPDX-License-Identifier: Apache-2.0
// What every index map of this folder answers with, and the two halves of its proof. The maps are the only place where a layout is
// written down: the packer, the kernels, the oracle and the pictures in docs/formats.md all come from them.
#pragma once

#include <cstdint>

#include "core/integers.hpp"

namespace billfish::layout {

// Where a code or zero lies: an index into an array of 32-bit words, and the bit at which its field begins.
struct Place {
  std::int64_t word = 0;
  int shift = 0;
  constexpr bool operator==(const Place&) const = default;
};

// Which element lies there: row k (or a group) and column n.
struct Element {
  std::int64_t k = 0;
  std::int64_t n = 0;
  constexpr bool operator==(const Element&) const = default;
};

BILLFISH_HD constexpr std::uint32_t field_mask(int bits) { return bits == 32 ? ~0u : (1u << bits) - 1u; }
BILLFISH_HD constexpr std::uint32_t field_of(std::uint32_t word, int shift, int bits) { return (word >> shift) & field_mask(bits); }

// Exact cover: `place(row, column)` reaches every field of `words` words once, as rows x columns elements. With as many fields as
// elements that makes the map a bijection. Only fields that begin at a multiple of `bits` count.
template <int kWords, class Map>
constexpr bool covers_exactly(int bits, int rows, int columns, Map place) {
  if (rows * columns * bits != kWords * 32) return false;
  std::uint32_t seen[kWords] = {};
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      const Place p = place(row, column);
      if (p.word < 0 || p.word >= kWords || p.shift < 0 || p.shift % bits != 0 || p.shift + bits > 32) return false;
      const std::uint32_t field = field_mask(bits) << p.shift;
      if ((seen[p.word] & field) != 0) return false;
      seen[p.word] |= field;
    }
  }
  for (const std::uint32_t word : seen) {
    if (word != ~0u) return false;
  }
  return true;
}

// Round trip: `element(place(row, column))` is (row, column) everywhere.
template <class Map, class Inverse>
constexpr bool inverts(int rows, int columns, Map place, Inverse element) {
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      if (!(element(place(row, column)) == Element{row, column})) return false;
    }
  }
  return true;
}

}  // namespace billfish::layout
