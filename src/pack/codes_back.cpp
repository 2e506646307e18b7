// SPDX-License-Identifier: Apache-2.0
// Marlin tiles back into checkpoint order. Whole tiles of plain GPTQ go straight to their place; every other tile is staged as word rows in
// GPTQ order and written from there. Where rows are in an activation order, a whole strip of tiles is unpacked first, and its rows are
// gathered in their original order.
//
// One thread, n = 4096, k = 16384, group 128, GB/s of packed bytes (codes, scales, zeros) on a Zen 3 core, 2026-11-21, AVX2 / scalar
// kernels:
//   gptq u4b8 9.1 / 2.5   gptq u4 5.1 / 2.1   gptq u8b128 10.4 / 3.6   gptq u4b8 in activation order 2.3 / 0.9   raw u4b8 4.7 / 2.6
//   awq u4    3.8 / 0.8   compressed-tensors u4b8 2.8 / 1.6, u8b128 3.7 / 2.1, u4b8 in activation order 2.0 / 1.0
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
  const std::uint32_t* tile(std::int64_t k_tile, std::int64_t n_tile) const {
    return source.codes + layout::marlin_tile_begin(bits, k_tile, n_tile, source.padded_n());
  }
  void stage(std::int64_t k_tile, std::int64_t n_tile, std::uint32_t* words) const {
    kernels.unpack(bits, tile(k_tile, n_tile), words, kTileN * 4, 1);
  }
  // Clears the fields of rows beyond k in the last word row: formats hold 0 there.
  void cut_rows(std::int64_t k_tile, std::uint32_t* words) const {
    const int rows = rows_at(k_tile);
    if (rows % fields() == 0) return;
    for (int c = 0; c < kTileN; ++c) words[rows / fields() * kTileN + c] &= layout::field_mask(rows % fields() * bits);
  }
};

// One tile, staged, into a format whose rows are rows of codes.
void write_rows(const Job& job, std::int64_t k_tile, std::int64_t n_tile, const std::uint32_t* words) {
  const int rows = job.rows_at(k_tile), columns = job.columns_at(n_tile);
  const std::int64_t k0 = k_tile * kTileK, n0 = n_tile * kTileN, n = job.target.n;
  switch (job.target.format) {
    case Format::awq:
      job.kernels.scatter_awq(words, job.out() + layout::awq_code(k0, n0, n).word * 4, layout::awq_row_words(n) * 4, rows, columns);
      break;
    case Format::raw: job.kernels.scatter_bytes(job.bits, words, job.out() + k0 * n + n0, n, rows, columns); break;
    default:
      for (int r = 0; r < ceil_div(rows, job.fields()); ++r) {
        const std::int64_t first = layout::gptq_code(job.bits, k0 + r * job.fields(), n0, n).word;
        std::memcpy(job.out() + first * 4, words + r * kTileN, static_cast<std::size_t>(columns) * 4);
      }
  }
}

// Tiles of one strip in GPTQ order, as many as kTurnedWords hold, into compressed-tensors' lines: a cache line of every column.
class Turn {
 public:
  Turn(const Job& job, std::int64_t n_tile) : job_(job), n_tile_(n_tile) {}
  ~Turn() { flush(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  std::uint32_t* next(std::int64_t k_tile) {
    if (count_ == kTurnedWords) flush();
    if (count_ == 0) first_ = layout::ct_code(job_.bits, k_tile * kTileK, n_tile_ * kTileN, job_.target.k).word;
    std::uint32_t* const at = words_ + count_ * kTileN;
    count_ += job_.bits / 2;
    beyond_ = job_.bits / 2 - ceil_div(job_.rows_at(k_tile), job_.fields());
    return at;
  }

 private:
  static constexpr std::int64_t kTurnedWords = 16;
  void flush() {
    if (count_ > 0) {
      job_.kernels.transpose_back(words_, count_ - beyond_, job_.out() + first_ * 4,
                                  layout::ct_code_row_words(job_.bits, job_.target.k) * 4, job_.columns_at(n_tile_));
    }
    count_ = 0;
  }
  const Job& job_;
  std::int64_t n_tile_, first_ = 0, count_ = 0;
  std::int64_t beyond_ = 0;  // word rows of the last tile that the matrix does not have
  std::uint32_t words_[kTurnedWords * kTileN];
};

void unpack_marlin(const Job& job, const TileRange& range) {
  for (std::int64_t k = range.k0; k < range.k1; ++k) {
    const std::int64_t begin = layout::marlin_tile_begin(job.bits, k, range.n0, job.source.padded_n());
    const std::int64_t words = (range.n1 - range.n0) * layout::marlin_tile_words(job.bits);
    std::memmove(job.out() + begin * 4, job.source.codes + begin, static_cast<std::size_t>(words) * 4);
  }
}

void unpack_turned(const Job& job, const TileRange& range) {
  for (std::int64_t n = range.n0; n < range.n1; ++n) {
    Turn turn(job, n);
    for (std::int64_t k = range.k0; k < range.k1; ++k) {
      std::uint32_t* const words = turn.next(k);
      job.stage(k, n, words);
      job.cut_rows(k, words);
    }
  }
}

void unpack_in_order(const Job& job, const TileRange& range) {
  const bool gptq = job.target.format == Format::gptq_v1 || job.target.format == Format::gptq_v2;
  const std::int64_t whole = std::min(range.n1, job.target.n / kTileN);
  std::uint32_t words[kMaxTileWords];
  for (std::int64_t k = range.k0; k < range.k1; ++k) {
    std::int64_t n = range.n0;
    if (gptq && job.rows_at(k) == kTileK && whole > n) {  // straight to where they belong
      const std::int64_t first = layout::gptq_code(job.bits, k * kTileK, n * kTileN, job.target.n).word;
      job.kernels.unpack(job.bits, job.tile(k, n), job.out() + first * 4, job.target.n * 4, whole - n);
      n = whole;
    }
    for (; n < range.n1; ++n) {
      job.stage(k, n, words);
      job.cut_rows(k, words);
      write_rows(job, k, n, words);
    }
  }
}

// packed_row: of every original row. Fields of rows beyond k come out as 0.
bool unpack_gathered(const Job& job, const TileRange& range, std::int64_t k_tiles, const std::vector<std::int32_t>& packed_row) {
  const int tile_words = layout::marlin_tile_words(job.bits);
  const std::unique_ptr<std::uint32_t[]> strip(new (std::nothrow) std::uint32_t[static_cast<std::size_t>(k_tiles * tile_words)]);
  if (strip == nullptr) return false;
  const bool turned = job.target.format == Format::compressed_tensors;
  std::uint32_t staged[kMaxTileWords];
  for (std::int64_t n = range.n0; n < range.n1; ++n) {
    for (std::int64_t k = 0; k < k_tiles; ++k) job.stage(k, n, strip.get() + k * tile_words);
    Turn turn(job, n);
    for (std::int64_t k = 0; k < k_tiles; ++k) {
      std::uint32_t* const words = turned ? turn.next(k) : staged;
      job.kernels.gather_gptq(job.bits, strip.get(), kTileN * 4, packed_row.data() + k * kTileK, job.rows_at(k), words);
      if (!turned) write_rows(job, k, n, words);
    }
  }
  return true;
}

}  // namespace

Status unpack_codes(const PackedMatrix& source, const QuantizedMatrix& target, const TileKernels& kernels, const Parallel& parallel) {
  const Job job = {source, target, kernels, bits_of(source.type)};
  const bool turned = target.format == Format::compressed_tensors;
  if (target.format == Format::marlin) {
    run_tiles(cut_tiles(source, parallel, false, 1), parallel, [&](const TileRange& range) { unpack_marlin(job, range); });
    return {};
  }
  if (source.perm == nullptr) {
    run_tiles(cut_tiles(source, parallel, turned, 8), parallel,
              [&](const TileRange& range) { turned ? unpack_turned(job, range) : unpack_in_order(job, range); });
    return {};
  }
  std::vector<std::int32_t> packed_row(static_cast<std::size_t>(source.k));
  for (std::int64_t row = 0; row < source.k; ++row) packed_row[static_cast<std::size_t>(source.perm[row])] = static_cast<std::int32_t>(row);
  std::atomic<bool> out_of_memory{false};
  TileGrid grid = cut_tiles(source, parallel, true, 1);
  grid.task_k = grid.k_tiles;
  run_tiles(grid, parallel, [&](const TileRange& range) {
    if (!unpack_gathered(job, range, grid.k_tiles, packed_row)) out_of_memory.store(true);
  });
  if (!out_of_memory.load()) return {};
  return {Code::out_of_memory, "unpacking needs " + std::to_string(grid.k_tiles * layout::marlin_tile_words(job.bits) * 4) +
                                   " bytes a thread to bring rows back from their activation order"};
}

}  // namespace billfish::pack
