// SPDX-License-Identifier: Apache-2.0
// Codes into Marlin tiles. Plain GPTQ tiles go straight from source to target; every other tile is staged as 2 or 4 word rows in GPTQ order
// (half a kilobyte or one, in L1), where edges get their padding, and packed from there.
//
// One thread, n = 4096, k = 14336, group 128, GB/s of checkpoint bytes (codes, scales, zeros) on a Zen 3 core, 2026-11-21, AVX2 / scalar
// kernels; memcpy of the same size: 9.4.
//   gptq u4b8 8.7 / 2.7   gptq u4 6.2 / 2.4   gptq u8b128 9.3 / 3.2   gptq u4b8 in activation order 2.0 / 0.9   raw u4b8 2.7 / 2.1
//   awq u4    4.6 / 0.7   compressed-tensors u4b8 3.2 / 1.4, u8b128 3.5 / 1.7, u4b8 in activation order 2.3 / 0.8   marlin (copy) 8.0
#include "pack/codes.hpp"

#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>

#include "layout/awq_order.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"
#include "pack/strips.hpp"
#include "pack/tile_grid.hpp"

namespace billfish::pack {
namespace {

using layout::kTileK;
using layout::kTileN;

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
constexpr std::int32_t kInOrder[kTileK] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
// compressed-tensors strips are turned this many words of k at a time: a cache line of every column.
constexpr std::int64_t kTurnedWords = 16;

struct Job {
  const QuantizedMatrix& source;
  const PackedMatrix& target;
  const TileKernels& kernels;
  int bits;
  std::int64_t row_words;  // of the target: one k block
  std::atomic<std::int64_t> bad_code{kNone};
  std::atomic<bool> out_of_memory{false};

  int fields() const { return 32 / bits; }
  int rows_at(std::int64_t k_tile) const { return static_cast<int>(std::min<std::int64_t>(kTileK, source.k - k_tile * kTileK)); }
  int columns_at(std::int64_t n_tile) const { return static_cast<int>(std::min<std::int64_t>(kTileN, source.n - n_tile * kTileN)); }
  std::uint32_t* tile(std::int64_t k_tile, std::int64_t n_tile) const {
    return target.codes + k_tile * row_words + n_tile * layout::marlin_tile_words(bits);
  }
};

int padding_code(const PackedMatrix& m, std::int64_t n) {  // of rows beyond k: the zero of the last row's group
  if (m.zeros == nullptr) return implicit_zero(m.type);
  const std::int64_t group = m.g_idx != nullptr ? m.g_idx[m.k - 1] : m.groups() - 1;
  const layout::Place place = layout::marlin_zero(bits_of(m.type), group, n, m.padded_n());
  return static_cast<int>(layout::field_of(m.zeros[place.word], place.shift, bits_of(m.type)));
}

// Overwrites what lies beyond `rows` and `columns` of a staged tile.
void pad_staged(const Job& job, std::int64_t n_tile, int rows, int columns, std::uint32_t* words) {
  const std::uint32_t one_each = job.bits == 4 ? 0x11111111u : 0x01010101u;
  const std::uint32_t outside = one_each * static_cast<std::uint32_t>(implicit_zero(job.source.type));
  for (int c = 0; c < kTileN; ++c) {
    for (int r = 0; r < job.bits / 2; ++r) {
      std::uint32_t& word = words[r * kTileN + c];
      if (c >= columns) {
        word = outside;
        continue;
      }
      const int kept = rows - r * job.fields();  // fields of this word that are rows of the matrix
      if (kept >= job.fields()) continue;
      const std::uint32_t mask = kept <= 0 ? 0u : layout::field_mask(kept * job.bits);
      word = (word & mask) | (one_each * static_cast<std::uint32_t>(padding_code(job.target, n_tile * kTileN + c)) & ~mask);
    }
  }
}

// Pads if the tile is at an edge, and packs.
void finish_tile(const Job& job, std::int64_t k_tile, std::int64_t n_tile, std::uint32_t* words) {
  const int rows = job.rows_at(k_tile), columns = job.columns_at(n_tile);
  if (rows < kTileK || columns < kTileN) pad_staged(job, n_tile, rows, columns, words);
  job.kernels.pack(job.bits, words, kTileN * 4, job.tile(k_tile, n_tile), 1);
}

// A tile's word rows as they lie, `columns` of 64 readable -> staged.
void stage_rows(const Job& job, const char* first, std::int64_t row_bytes, int rows, int columns, std::uint32_t* words) {
  for (int r = 0; r < ceil_div(rows, job.fields()); ++r) {
    std::memcpy(words + r * kTileN, first + r * row_bytes, static_cast<std::size_t>(columns) * 4);
  }
}

// With an activation order a tile needs any word of its strip: the strip is brought together first, 256 bytes a word row, which the
// caches hold better than rows that lie n words apart.
void pack_gathered(Job& job, const TileRange& range) {
  const bool turned = job.source.format == Format::compressed_tensors;
  const std::int64_t word_rows = layout::ct_code_row_words(job.bits, job.source.k);  // of any format that packs along k
  const std::unique_ptr<std::uint32_t[]> strip(new (std::nothrow) std::uint32_t[static_cast<std::size_t>(word_rows * kTileN)]);
  if (strip == nullptr) {
    job.out_of_memory.store(true);
    return;
  }
  const char* const codes = static_cast<const char*>(job.source.codes);
  std::uint32_t words[kMaxTileWords];
  for (std::int64_t n = range.n0; n < range.n1; ++n) {
    const int columns = job.columns_at(n);
    if (turned) {
      job.kernels.transpose(codes + n * kTileN * word_rows * 4, word_rows * 4, columns, word_rows, strip.get());
    } else {
      for (std::int64_t r = 0; r < word_rows; ++r) {
        std::memset(strip.get() + r * kTileN, 0, kTileN * 4);
        std::memcpy(strip.get() + r * kTileN, codes + (r * job.source.n + n * kTileN) * 4, static_cast<std::size_t>(columns) * 4);
      }
    }
    for (std::int64_t k = 0; k < range.k1; ++k) {  // range.k0 is 0: a task has whole strips
      job.kernels.gather_gptq(job.bits, strip.get(), kTileN * 4, job.target.perm + k * kTileK, job.rows_at(k), words);
      finish_tile(job, k, n, words);
    }
  }
}

void pack_gptq(Job& job, const TileRange& range) {
  const std::int64_t row_bytes = job.source.n * 4;
  const std::int64_t whole = std::min(range.n1, job.source.n / kTileN);
  std::uint32_t words[kMaxTileWords] = {};
  for (std::int64_t k = range.k0; k < range.k1; ++k) {
    const char* const rows = static_cast<const char*>(job.source.codes) + k * job.bits / 2 * row_bytes;
    std::int64_t n = range.n0;
    if (job.rows_at(k) == kTileK && whole > n) {
      job.kernels.pack(job.bits, rows + n * kTileN * 4, row_bytes, job.tile(k, n), whole - n);
      n = whole;
    }
    for (; n < range.n1; ++n) {
      stage_rows(job, rows + n * kTileN * 4, row_bytes, job.rows_at(k), job.columns_at(n), words);
      finish_tile(job, k, n, words);
    }
  }
}

// compressed-tensors: turn a strip of 64 output rows, a few words of k at a time, and go on as with GPTQ.
void pack_compressed_tensors(Job& job, const TileRange& range) {
  const std::int64_t line_words = layout::ct_code_row_words(job.bits, job.source.k);
  const std::int64_t tiles_a_turn = kTurnedWords * 2 / job.bits;
  std::uint32_t turned[kTurnedWords * kTileN];
  std::uint32_t words[kMaxTileWords] = {};
  for (std::int64_t n = range.n0; n < range.n1; ++n) {
    const char* const lines = static_cast<const char*>(job.source.codes) + n * kTileN * line_words * 4;
    for (std::int64_t k = range.k0; k < range.k1; k += tiles_a_turn) {
      const std::int64_t end = std::min(k + tiles_a_turn, range.k1);
      const std::int64_t first = k * job.bits / 2, count = std::min(end * job.bits / 2, line_words) - first;
      job.kernels.transpose(lines + first * 4, line_words * 4, job.columns_at(n), count, turned);
      for (std::int64_t tile = k; tile < end; ++tile) {
        std::uint32_t* const rows = turned + (tile - k) * layout::marlin_tile_words(job.bits);
        if (job.rows_at(tile) == kTileK) {
          finish_tile(job, tile, n, rows);
        } else {
          stage_rows(job, reinterpret_cast<const char*>(rows), kTileN * 4, job.rows_at(tile), kTileN, words);
          finish_tile(job, tile, n, words);
        }
      }
    }
  }
}

void pack_awq(Job& job, const TileRange& range) {
  const std::int64_t row_bytes = layout::awq_row_words(job.source.n) * 4;
  std::uint32_t words[kMaxTileWords];
  for (std::int64_t k = range.k0; k < range.k1; ++k) {
    for (std::int64_t n = range.n0; n < range.n1; ++n) {
      const char* const at = static_cast<const char*>(job.source.codes) + k * kTileK * row_bytes + n * kTileN / 2;
      job.kernels.gather_awq(at, row_bytes, job.rows_at(k), job.columns_at(n), words);
      finish_tile(job, k, n, words);
    }
  }
}

void pack_raw(Job& job, const TileRange& range) {
  std::uint32_t words[kMaxTileWords];
  const std::int32_t* const perm = job.target.perm;
  const auto* const codes = static_cast<const std::uint8_t*>(job.source.codes);
  for (std::int64_t k = range.k0; k < range.k1; ++k) {
    for (std::int64_t n = range.n0; n < range.n1; ++n) {
      const std::int32_t* const order = perm != nullptr ? perm + k * kTileK : kInOrder;
      const std::int64_t first = n * kTileN + (perm != nullptr ? 0 : k * kTileK * job.source.n);
      const int rows = job.rows_at(k), columns = job.columns_at(n);
      if (job.kernels.gather_bytes(job.bits, codes + first, job.source.n, order, rows, columns, words)) {
        for (int i = 0; i < rows * columns; ++i) {
          const std::int64_t at = first + order[i / columns] * job.source.n + i % columns;
          if (codes[at] >> job.bits != 0) keep_smallest(job.bad_code, at);
        }
      }
      finish_tile(job, k, n, words);
    }
  }
}

// Already packed: whole tiles are copied, edges get our padding, whoever wrote them.
void pack_marlin(Job& job, const TileRange& range) {
  const auto* const codes = static_cast<const char*>(job.source.codes);
  const std::size_t tile_bytes = static_cast<std::size_t>(layout::marlin_tile_words(job.bits)) * 4;
  std::uint32_t tile[kMaxTileWords];
  std::uint32_t words[kMaxTileWords];
  for (std::int64_t k = range.k0; k < range.k1; ++k) {
    for (std::int64_t n = range.n0; n < range.n1; ++n) {
      const char* const at = codes + (job.tile(k, n) - job.target.codes) * 4;
      if (job.rows_at(k) == kTileK && job.columns_at(n) == kTileN) {
        std::memmove(job.tile(k, n), at, tile_bytes);
      } else {
        std::memcpy(tile, at, tile_bytes);
        job.kernels.unpack(job.bits, tile, words, kTileN * 4, 1);
        finish_tile(job, k, n, words);
      }
    }
  }
}

}  // namespace

Status pack_codes(const QuantizedMatrix& source, PackedMatrix& target, const TileKernels& kernels, const Parallel& parallel) {
  Job job = {source, target, kernels, bits_of(source.type), layout::marlin_row_words(bits_of(source.type), source.padded_n())};
  const bool turned = source.format == Format::compressed_tensors;
  const bool by_rows = source.format == Format::raw || source.format == Format::marlin;  // a row is a row, wherever it goes
  const bool gathered = target.perm != nullptr && !by_rows;
  TileGrid grid = cut_tiles(source, parallel, turned || target.perm != nullptr, turned ? kTurnedWords * 2 / job.bits : 1);
  if (gathered) grid.task_k = grid.k_tiles;
  run_tiles(grid, parallel, [&](const TileRange& range) {
    if (gathered) return pack_gathered(job, range);
    switch (source.format) {
      case Format::gptq_v1:
      case Format::gptq_v2: return pack_gptq(job, range);
      case Format::awq: return pack_awq(job, range);
      case Format::compressed_tensors: return pack_compressed_tensors(job, range);
      case Format::raw: return pack_raw(job, range);
      case Format::marlin: return pack_marlin(job, range);
    }
  });
  if (job.out_of_memory.load()) {
    return {Code::out_of_memory, "packing needs " + std::to_string(layout::ct_code_row_words(job.bits, source.k) * kTileN * 4) +
                                     " bytes a thread to gather rows in their activation order"};
  }
  if (job.bad_code.load() == kNone) return {};
  const std::int64_t at = job.bad_code.load();
  return bad_input("the code of row " + std::to_string(at / source.n) + ", column " + std::to_string(at % source.n) + " is " +
                   std::to_string(static_cast<const std::uint8_t*>(source.codes)[at]) + "; type " + std::string(name_of(source.type)) +
                   " holds 0 to " + std::to_string((1 << job.bits) - 1));
}

}  // namespace billfish::pack
