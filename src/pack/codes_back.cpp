// SPDX-License-Identifier: Apache-2.0
// Marlin tiles back into checkpoint order: every tile is unpacked into word rows in GPTQ order and written from there. Where rows are in an
// activation order, a whole strip of tiles is unpacked first, and its rows are gathered in their original order.
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

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
};

void store_word(char* words, std::int64_t index, std::uint32_t word) { std::memcpy(words + index * 4, &word, sizeof word); }

// Eight columns a word: turned first, so that the loop over words is the inner one.
void write_awq(const Job& job, std::int64_t k0, std::int64_t n0, const std::uint32_t* words) {
  std::uint32_t turned[2][8][8];  // [word row][column in its word][word]
  for (int r = 0; r < 2; ++r) {
    for (int c = 0; c < kTileN; ++c) turned[r][c % 8][c / 8] = words[r * kTileN + c];
  }
  const std::size_t bytes = static_cast<std::size_t>(std::min<std::int64_t>(kTileN, job.target.n - n0)) / 2;
  for (int row = 0; row < std::min<std::int64_t>(kTileK, job.target.k - k0); ++row) {
    std::uint32_t line[8] = {};
    for (int i = 0; i < 8; ++i) {
      for (int word = 0; word < 8; ++word)
        line[word] |= ((turned[row / 8][i][word] >> (row % 8 * 4)) & 0xfu) << (4 * layout::interleave8(i));
    }
    std::memcpy(job.out() + layout::awq_code(k0 + row, n0, job.target.n).word * 4, line, bytes);
  }
}

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
    case Format::awq: write_awq(job, k0, n0, words); break;
    case Format::raw:
      for (int row = 0; row < rows; ++row) {
        const std::uint32_t* const from = words + row / job.fields() * kTileN;
        const int shift = row % job.fields() * job.bits;
        char* const to = job.out() + (k0 + row) * m.n + n0;
        const std::uint32_t mask = layout::field_mask(job.bits);
        for (int c = 0; c < columns; ++c) to[c] = static_cast<char>((from[c] >> shift) & mask);
      }
      break;
    default:
      for (int r = 0; r < word_rows; ++r) {
        const std::int64_t first = layout::gptq_code(job.bits, k0 + r * job.fields(), n0, m.n).word;
        std::memcpy(job.out() + first * 4, words + r * kTileN, static_cast<std::size_t>(columns) * 4);
      }
  }
}

}  // namespace

Status unpack_codes(const PackedMatrix& source, const QuantizedMatrix& target, const TileKernels& kernels, const Parallel& parallel) {
  const Job job = {source, target, kernels, bits_of(source.type)};
  const int tile_words = layout::marlin_tile_words(job.bits);
  if (target.format == Format::marlin) {
    run_tiles(cut_tiles(source, parallel, false, 1), parallel, [&](const TileRange& range) {
      for (std::int64_t k = range.k0; k < range.k1; ++k) {
        const std::int64_t begin = layout::marlin_tile_begin(job.bits, k, range.n0, source.padded_n());
        std::memmove(job.out() + begin * 4, source.codes + begin, static_cast<std::size_t>((range.n1 - range.n0) * tile_words) * 4);
      }
    });
    return {};
  }
  if (source.perm == nullptr) {
    run_tiles(cut_tiles(source, parallel, target.format == Format::compressed_tensors, 8), parallel, [&](const TileRange& range) {
      std::uint32_t words[kMaxTileWords];
      const auto one_tile = [&](std::int64_t k, std::int64_t n) {
        job.stage(k, n, words);
        job.cut_rows(k, words);
        write_tile(job, k, n, words);
      };
      if (target.format == Format::compressed_tensors) {
        for (std::int64_t n = range.n0; n < range.n1; ++n) {
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
  std::vector<std::int32_t> packed_row(static_cast<std::size_t>(source.k));  // of every original row
  for (std::int64_t row = 0; row < source.k; ++row) packed_row[static_cast<std::size_t>(source.perm[row])] = static_cast<std::int32_t>(row);
  std::atomic<bool> out_of_memory{false};
  TileGrid grid = cut_tiles(source, parallel, true, 1);
  grid.task_k = grid.k_tiles;
  run_tiles(grid, parallel, [&](const TileRange& range) {
    const std::unique_ptr<std::uint32_t[]> strip(new (std::nothrow) std::uint32_t[static_cast<std::size_t>(grid.k_tiles * tile_words)]);
    if (strip == nullptr) {
      out_of_memory.store(true);
      return;
    }
    std::uint32_t words[kMaxTileWords];
    for (std::int64_t n = range.n0; n < range.n1; ++n) {
      for (std::int64_t k = 0; k < grid.k_tiles; ++k) job.stage(k, n, strip.get() + k * tile_words);
      for (std::int64_t k = 0; k < grid.k_tiles; ++k) {
        kernels.gather_gptq(job.bits, strip.get(), kTileN * 4, packed_row.data() + k * kTileK, job.rows_at(k), words);
        write_tile(job, k, n, words);
      }
    }
  });
  if (!out_of_memory.load()) return {};
  return {Code::out_of_memory, "unpacking needs " + std::to_string(grid.k_tiles * tile_words * 4) +
                                   " bytes a thread to bring rows back from their activation order"};
}

}  // namespace billfish::pack
