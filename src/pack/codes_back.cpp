// SPDX-License-Identifier: Apache-2.0
// Marlin tiles back into checkpoint order: every tile is unpacked into word rows in GPTQ order and written from there. Where rows are in an
// activation order, a row's fields lie among those of other tiles: a task then owns whole strips of columns, so that no two tasks write
// the same word.
#include <cstring>

#include "layout/awq_order.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/gptq.hpp"
#include "layout/marlin_weights.hpp"
#include "pack/codes.hpp"
#include "pack/tile_grid.hpp"

namespace billfish::pack {
namespace {

using layout::kTileK;
using layout::kTileN;

struct Job {
  const PackedMatrix& source;
  const QuantizedMatrix& target;
  const TileKernels& kernels;
  int bits;

  char* out() const { return static_cast<char*>(const_cast<void*>(target.codes)); }
  int fields() const { return 32 / bits; }
  int rows_at(std::int64_t k_tile) const { return static_cast<int>(std::min<std::int64_t>(kTileK, source.k - k_tile * kTileK)); }
  int columns_at(std::int64_t n_tile) const { return static_cast<int>(std::min<std::int64_t>(kTileN, source.n - n_tile * kTileN)); }
  void stage(std::int64_t k_tile, std::int64_t n_tile, std::uint32_t* words) const {
    kernels.unpack(bits, source.codes + layout::marlin_tile_begin(bits, k_tile, n_tile, source.padded_n()), words, kTileN * 4, 1);
  }
  // Clears the fields of rows beyond k in the last word row: formats hold 0 there.
  void cut_rows(std::int64_t k_tile, std::uint32_t* words) const {
    const int rows = rows_at(k_tile);
    if (rows % fields() == 0) return;
    for (int c = 0; c < kTileN; ++c) words[rows / fields() * kTileN + c] &= layout::field_mask(rows % fields() * bits);
  }
  std::uint32_t code(const std::uint32_t* words, int row, int column) const {
    return layout::field_of(words[row / fields() * kTileN + column], row % fields() * bits, bits);
  }
};

void store_word(char* words, std::int64_t index, std::uint32_t word) { std::memcpy(words + index * 4, &word, sizeof word); }

void or_field(char* words, const layout::Place& place, std::uint32_t code) {
  std::uint32_t word = 0;
  std::memcpy(&word, words + place.word * 4, sizeof word);
  store_word(words, place.word, word | code << place.shift);
}

// Tiles whose rows stay where they are.
void write_tile(const Job& job, std::int64_t k_tile, std::int64_t n_tile, const std::uint32_t* words) {
  const int rows = job.rows_at(k_tile), columns = job.columns_at(n_tile);
  const int word_rows = static_cast<int>(ceil_div(rows, job.fields()));
  const std::int64_t k0 = k_tile * kTileK, n0 = n_tile * kTileN;
  const QuantizedMatrix& m = job.target;
  switch (m.format) {
    case Format::compressed_tensors:
      for (int c = 0; c < columns; ++c) {
        const std::int64_t first = layout::ct_code(job.bits, k0, n0 + c, m.k).word;
        for (int r = 0; r < word_rows; ++r) store_word(job.out(), first + r, words[r * kTileN + c]);
      }
      break;
    case Format::awq:
      for (int row = 0; row < rows; ++row) {
        for (int c = 0; c < columns; c += 8) {
          std::uint32_t word = 0;
          for (int i = 0; i < 8; ++i) word |= job.code(words, row, c + i) << (4 * layout::interleave8(i));
          store_word(job.out(), layout::awq_code(k0 + row, n0 + c, m.n).word, word);
        }
      }
      break;
    case Format::raw:
      for (int row = 0; row < rows; ++row) {
        for (int c = 0; c < columns; ++c) job.out()[(k0 + row) * m.n + n0 + c] = static_cast<char>(job.code(words, row, c));
      }
      break;
    default:
      for (int r = 0; r < word_rows; ++r) {
        const std::int64_t first = layout::gptq_code(job.bits, k0 + r * job.fields(), n0, m.n).word;
        std::memcpy(job.out() + first * 4, words + r * kTileN, static_cast<std::size_t>(columns) * 4);
      }
  }
}

// Tiles whose rows go back to where perm says.
void scatter_tile(const Job& job, std::int64_t k_tile, std::int64_t n_tile, const std::uint32_t* words) {
  const QuantizedMatrix& m = job.target;
  const std::int64_t n0 = n_tile * kTileN;
  for (int row = 0; row < job.rows_at(k_tile); ++row) {
    const std::int64_t k = job.source.perm[k_tile * kTileK + row];
    for (int c = 0; c < job.columns_at(n_tile); ++c) {
      const std::uint32_t code = job.code(words, row, c);
      if (m.format == Format::raw) {
        job.out()[k * m.n + n0 + c] = static_cast<char>(code);
      } else if (m.format == Format::compressed_tensors) {
        or_field(job.out(), layout::ct_code(job.bits, k, n0 + c, m.k), code);
      } else {
        or_field(job.out(), layout::gptq_code(job.bits, k, n0 + c, m.n), code);
      }
    }
  }
}

// Scattered fields are put in one by one: their words begin as 0.
void clear_strip(const Job& job, std::int64_t n_tile) {
  const QuantizedMatrix& m = job.target;
  const std::int64_t n0 = n_tile * kTileN;
  const auto columns = static_cast<std::size_t>(job.columns_at(n_tile));
  if (m.format == Format::compressed_tensors) {
    const std::int64_t line = layout::ct_code_row_words(job.bits, m.k) * 4;
    std::memset(job.out() + n0 * line, 0, columns * static_cast<std::size_t>(line));
  } else if (m.format != Format::raw) {
    for (std::int64_t r = 0; r < ceil_div(m.k, job.fields()); ++r) std::memset(job.out() + (r * m.n + n0) * 4, 0, columns * 4);
  }
}

}  // namespace

Status unpack_codes(const PackedMatrix& source, const QuantizedMatrix& target, const TileKernels& kernels, const Parallel& parallel) {
  const Job job = {source, target, kernels, bits_of(source.type)};
  const bool scattered = source.perm != nullptr && target.format != Format::marlin;
  const bool by_strip = scattered || target.format == Format::compressed_tensors;
  TileGrid grid = cut_tiles(source, parallel, by_strip, 1);
  if (scattered) grid.task_k = grid.k_tiles;
  run_tiles(grid, parallel, [&](const TileRange& range) {
    std::uint32_t words[kMaxTileWords];
    const auto one_tile = [&](std::int64_t k, std::int64_t n) {
      if (target.format == Format::marlin) {
        const std::int64_t begin = layout::marlin_tile_begin(job.bits, k, n, source.padded_n());
        std::memmove(job.out() + begin * 4, source.codes + begin, static_cast<std::size_t>(layout::marlin_tile_words(job.bits)) * 4);
        return;
      }
      job.stage(k, n, words);
      job.cut_rows(k, words);
      if (scattered) {
        scatter_tile(job, k, n, words);
      } else {
        write_tile(job, k, n, words);
      }
    };
    if (by_strip) {
      for (std::int64_t n = range.n0; n < range.n1; ++n) {
        if (scattered) clear_strip(job, n);
        for (std::int64_t k = range.k0; k < range.k1; ++k) one_tile(k, n);
      }
    } else {
      for (std::int64_t k = range.k0; k < range.k1; ++k) {
        for (std::int64_t n = range.n0; n < range.n1; ++n) one_tile(k, n);
      }
    }
  });
  return {};
}

}  // namespace billfish::pack
