// SPDX-License-Identifier: Apache-2.0
// The product in double, with the sums that error bounds need; and the dequantised matrix. Called by api/ and tests.
//
// Work is cut into blocks of 8 columns x 16 rows of C. Weights of a block are decoded 256 packed rows at a time onto the stack, so that
// nothing is allocated and a decoded weight serves 16 rows. Sums run over packed rows in ascending order whatever the cut.
#include <algorithm>
#include <cmath>

#include "core/half.hpp"
#include "layout/marlin_weights.hpp"
#include "reference/reference.hpp"

namespace billfish::reference {
namespace {

constexpr int kColumns = 8;
constexpr int kRows = 16;
constexpr int kDepth = 256;

struct Weights {                      // kDepth packed rows of kColumns columns
  double value[kDepth][kColumns];     // scale * (code - zero): exact, 24 + 9 bits
  double unzeroed[kDepth][kColumns];  // |scale| * (code + zero)
};

// The places of a tile's codes, tabulated from the layout: a product asks for them millions of times.
struct TilePlaces {
  std::uint16_t word[layout::kTileK][layout::kTileN];
  std::uint8_t shift[layout::kTileK][layout::kTileN];
};
constexpr TilePlaces tabulate(int bits) {
  TilePlaces places = {};
  for (int k = 0; k < layout::kTileK; ++k) {
    for (int n = 0; n < layout::kTileN; ++n) {
      places.word[k][n] = static_cast<std::uint16_t>(layout::marlin_word_in_tile(bits, k, n));
      places.shift[k][n] = static_cast<std::uint8_t>(layout::marlin_shift_in_tile(bits, k, n));
    }
  }
  return places;
}
constexpr TilePlaces kPlaces4 = tabulate(4);
constexpr TilePlaces kPlaces8 = tabulate(8);

// Codes of columns [n0, n1) of a packed row.
void codes_of_row(const PackedMatrix& m, std::int64_t k, std::int64_t n0, std::int64_t n1, int* out) {
  const int bits = bits_of(m.type);
  const TilePlaces& places = bits == 4 ? kPlaces4 : kPlaces8;
  const std::int64_t kk = k % layout::kTileK;
  for (std::int64_t n = n0; n < n1; ++n) {
    const std::uint32_t* const tile = m.codes + layout::marlin_tile_begin(bits, k / layout::kTileK, n / layout::kTileN, m.padded_n());
    const std::int64_t nn = n % layout::kTileN;
    *out++ = static_cast<int>(layout::field_of(tile[places.word[kk][nn]], places.shift[kk][nn], bits));
  }
}

// Scales and zeros of one group, columns [n0, n1).
struct GroupValues {
  std::int64_t group = -1;
  float scale[kColumns] = {};
  int zero[kColumns] = {};
  void move_to(const PackedMatrix& m, std::int64_t to, std::int64_t n0, std::int64_t n1) {
    if (to == group) return;
    group = to;
    for (std::int64_t n = n0; n < n1; ++n) {
      scale[n - n0] = scale_of_group(m, group, n);
      zero[n - n0] = zero_of_group(m, group, n);
    }
  }
};

void decode(const PackedMatrix& m, std::int64_t k0, std::int64_t k1, std::int64_t n0, std::int64_t n1, Weights& out) {
  GroupValues values;
  int codes[kColumns] = {};
  for (std::int64_t k = k0; k < k1; ++k) {
    values.move_to(m, group_at(m, k), n0, n1);
    codes_of_row(m, k, n0, n1, codes);
    for (std::int64_t c = 0; c < n1 - n0; ++c) {
      const double scale = static_cast<double>(values.scale[c]);
      out.value[k - k0][c] = scale * (codes[c] - values.zero[c]);
      out.unzeroed[k - k0][c] = std::fabs(scale) * (codes[c] + values.zero[c]);
    }
  }
}

// The sums of one row of a block, column by column.
struct Row {
  double y[kColumns] = {}, magnitude[kColumns] = {}, unzeroed[kColumns] = {}, squares[kColumns] = {}, unzeroed_squares[kColumns] = {};
  double peak[kColumns] = {}, peak_squares[kColumns] = {};
  double largest = 0;  // |a| in the group that runs
  std::int64_t terms = 0;

  void add(double x, const double* w, const double* w_unzeroed) {
    const double size = std::fabs(x);
    largest = std::max(largest, size);
    terms += x != 0;
    for (int c = 0; c < kColumns; ++c) {
      const double product = x * w[c], raw = size * w_unzeroed[c];
      y[c] += product;
      magnitude[c] += std::fabs(product);
      unzeroed[c] += raw;
      squares[c] += product * product;
      unzeroed_squares[c] += raw * raw;
    }
  }
};

// Sums over the weights of the group that runs: the same for every row.
struct GroupSums {
  double weights[kColumns] = {}, squares[kColumns] = {};
  void add(const double* w) {
    for (int c = 0; c < kColumns; ++c) {
      weights[c] += std::fabs(w[c]);
      squares[c] += w[c] * w[c];
    }
  }
};

// The first row at or after k that is not of k's group, at most `end`.
std::int64_t group_end(const PackedMatrix& m, std::int64_t k, std::int64_t end) {
  const std::int64_t group = group_at(m, k);
  while (k < end && group_at(m, k) == group) ++k;
  return k;
}

void multiply_block(const PackedMatrix& m, const void* a, ElementType a_type, std::int64_t lda, std::int64_t row0, std::int64_t row1,
                    std::int64_t n0, std::int64_t n1, Row* rows) {
  Weights weights = {};
  GroupSums group;
  for (std::int64_t k0 = 0, begin = 0; k0 < m.k; k0 += kDepth) {
    const std::int64_t k1 = std::min(k0 + kDepth, m.k);
    decode(m, k0, k1, n0, n1, weights);
    for (std::int64_t end = 0; begin < k1; begin = end) {
      end = group_end(m, begin, k1);
      const bool whole = end == m.k || group_at(m, end) != group_at(m, begin);  // else it goes on in the next k1
      for (std::int64_t k = begin; k < end; ++k) group.add(weights.value[k - k0]);
      for (std::int64_t r = row0; r < row1; ++r) {
        Row row = rows[r - row0];
        for (std::int64_t k = begin; k < end; ++k) {
          const std::int64_t original = m.perm != nullptr ? m.perm[k] : k;
          row.add(static_cast<double>(load_element(a, a_type, r * lda + original)), weights.value[k - k0], weights.unzeroed[k - k0]);
        }
        for (int c = 0; whole && c < kColumns; ++c) {
          row.peak[c] += row.largest * group.weights[c];
          row.peak_squares[c] += row.largest * row.largest * group.squares[c];
        }
        if (whole) row.largest = 0;
        rows[r - row0] = row;
      }
      if (whole) group = GroupSums();
    }
  }
}

}  // namespace

void multiply(const PackedMatrix& m, const void* a, ElementType a_type, std::int64_t rows, std::int64_t lda, bool bias, std::int64_t n0,
              std::int64_t n1, Sums* out, const Parallel& parallel) {
  const std::int64_t columns = n1 - n0;
  const std::int64_t column_blocks = ceil_div(columns, kColumns);
  parallel.run(ceil_div(rows, kRows) * column_blocks, [&](std::int64_t task) {
    const std::int64_t row0 = task / column_blocks * kRows;
    const std::int64_t row1 = std::min(row0 + kRows, rows);
    const std::int64_t first = n0 + task % column_blocks * kColumns;
    const std::int64_t last = std::min(first + kColumns, n1);
    Row block[kRows];
    multiply_block(m, a, a_type, lda, row0, row1, first, last, block);
    for (std::int64_t r = row0; r < row1; ++r) {
      const Row& row = block[r - row0];
      for (std::int64_t n = first; n < last; ++n) {
        const std::int64_t c = n - first;
        const double b = bias ? static_cast<double>(bias_at(m, n)) : 0.0;
        out[r * columns + n - n0] = {.y = row.y[c] + b,
                                     .magnitude = row.magnitude[c] + std::fabs(b),
                                     .unzeroed = row.unzeroed[c] + std::fabs(b),
                                     .squares = row.squares[c] + b * b,
                                     .unzeroed_squares = row.unzeroed_squares[c] + b * b,
                                     .peak = row.peak[c],
                                     .peak_squares = row.peak_squares[c],
                                     .terms = row.terms};
      }
    }
  });
}

void dequantize(const PackedMatrix& m, float* out, std::int64_t ld, const Parallel& parallel) {
  // Strips of 8 columns, so that a group's values are looked up once and no two tasks write one element.
  parallel.run(ceil_div(m.n, kColumns), [&](std::int64_t strip) {
    const std::int64_t n0 = strip * kColumns, n1 = std::min(n0 + kColumns, m.n);
    GroupValues values;
    int codes[kColumns] = {};
    for (std::int64_t row = 0; row < m.k; ++row) {
      values.move_to(m, group_at(m, row), n0, n1);
      codes_of_row(m, row, n0, n1, codes);
      float* const to = out + (m.perm != nullptr ? m.perm[row] : row) * ld + n0;
      for (std::int64_t c = 0; c < n1 - n0; ++c) to[c] = values.scale[c] * static_cast<float>(codes[c] - values.zero[c]);
    }
  });
}

}  // namespace billfish::reference
