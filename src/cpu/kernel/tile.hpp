// SPDX-License-Identifier: Apache-2.0
// Many rows: a panel of codes is decoded once into cache and multiplied by every tile of rows, as in any blocked product.
// Included by the kernels' translation units only.
//
//   for each panel (64 columns x up to 16 steps)
//     decode          Marlin words -> [column vector][step][slot][k pair][V columns], panel order
//     for each kVectors column vectors of the panel            stays in L1
//       for each tile of rows                                  A streams through, read once
//         for each chunk of the panel: sums in registers, times scale, into args.sums
#pragma once

#include <utility>

#include "cpu/kernel/decode.hpp"

namespace billfish::cpu {
namespace {

// Bytes of a panel that stays in L1 with a tile of rows beside it. AVX-512: measured with an L1 of 48 KB (Zen 5; the Xeon has as much),
// not with a Zen 4's 32.
template <class Arith>
constexpr int kPanelInL1 = Arith::kLanes == 16 ? 32768 : 16384;

// Columns decoded at a time: a whole block, or as many as one call of a tile kernel multiplies.
template <class Arith>
constexpr int panel_columns() {
  constexpr int kColumnBytes = kChunkSteps * Arith::kSlots * 4 * 4;
  return kColumnBytes * kBlockColumns <= kPanelInL1<Arith> ? kBlockColumns : Arith::kLanes * Arith::kTileVectors;
}

// Codes of the next panel, asked for into L2 a step or two for every chunk: a burst of them holds up the dots until memory has answered.
struct CodeFetch {
  const std::uint32_t* codes;
  std::int64_t row_words;
  int block_words;
  int at_once;
  std::int64_t steps;  // left
  [[gnu::always_inline]] void some() {
    for (int i = 0; i < at_once && steps > 0; ++i, --steps, codes += row_words) {
      for (int word = 0; word < block_words; word += 128) {
#pragma GCC unroll 8
        for (int line = 0; line < 128; line += 16) __builtin_prefetch(codes + word + line, 0, 2);
      }
    }
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
  int column_begin, column_end;  // panel positions
  const float* row_scales;       // at the panel's first chunk and the tile's first row
  const float* row_sums;
  const std::uint32_t* begins;
  std::int64_t row_stride;
  float* sums;  // at the tile's first row
  CodeFetch* fetch;
};

// kZeros: subtract stored zeros times the sums of the rows.
template <class Arith, bool kZeros, int kRows>
void multiply_tile(const PanelArgs& args) {
  using F = typename Arith::F;
  using U = typename Arith::U;
  using Weight = typename Arith::Weight;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kVectors = Arith::kTileVectors;
  constexpr int kDwords = Arith::kSlots * 4;
  constexpr int kVectorWords = kChunkSteps * kDwords * kLanes;
  for (int column = args.column_begin; column < args.column_end; column += kVectors * kLanes) {
    const std::uint32_t* panel = args.panel + (column - args.column_begin) / kLanes * kVectorWords;
    const std::uint32_t* a = args.a;
    const std::int64_t ahead = args.ahead;
    float* const sums = args.sums + column;
    // Sums of many rows are in L2: they come while the first chunk is multiplied.
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
      for (int i = 0; i < kVectors * kLanes; i += 16) __builtin_prefetch(sums + row * kBlockColumns + i, 1, 3);
    }
    for (int chunk = 0; chunk < args.chunks; ++chunk) {
      args.fetch->some();
      typename Arith::Sum sum[kRows][kVectors] = {};
      if constexpr (Arith::kBeginWords > 0 && Arith::kPartialSteps == 0) {
#pragma GCC unroll 16
        for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v)
            sum[row][v] = splat<typename Arith::Sum>(args.begins[chunk * kChunkPartials * args.row_stride + row]);
        }
      }
      const auto add_steps = [&](int count, typename Arith::Partial(&partial)[kRows][kVectors]) __attribute__((always_inline)) {
        for (int step = 0; step < count; ++step) {
#pragma GCC unroll 16
          for (int line = 0; line < kDwords * Arith::kParts * kRows; line += 16) __builtin_prefetch(a + ahead + line, 0, 3);
#pragma GCC unroll 4
          for (int d = 0; d < kDwords; ++d) {
            Weight w[kVectors];
#pragma GCC unroll 2
            for (int v = 0; v < kVectors; ++v) w[v] = load<Weight>(panel + v * kVectorWords + d * kLanes);
#pragma GCC unroll 2
            for (int part = 0; part < Arith::kParts; ++part) {
#pragma GCC unroll 16
              for (int row = 0; row < kRows; ++row) {
                const std::uint32_t& from = a[(d * Arith::kParts + part) * kRows + row];
                if constexpr (Arith::kPartialSteps > 0) {
                  Arith::Instructions::dot_bytes(partial[row], w, from);
                } else {
                  const U av = splat<U>(from);
#pragma GCC unroll 2
                  for (int v = 0; v < kVectors; ++v) partial[row][v] = Arith::dot(partial[row][v], w[v], av);
                }
              }
            }
          }
          panel += kDwords * kLanes;
          a += kDwords * Arith::kParts * kRows;
        }
      };
      const int steps = args.chunk_steps[chunk];
      if constexpr (Arith::kPartialSteps == 0) {
        add_steps(steps, sum);
      } else {
#pragma GCC unroll 2
        for (int part = 0; part < kChunkPartials; ++part) {
          const int left = steps - part * Arith::kPartialSteps;
          if (part > 0 && left <= 0) break;
          typename Arith::Partial partial[kRows][kVectors];
          const std::uint32_t* begins = args.begins + (chunk * kChunkPartials + part) * args.row_stride;
#pragma GCC unroll 16
          for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
            for (int v = 0; v < kVectors; ++v) {
              partial[row][v] = splat<U>(begins[row]);
              Arith::once(partial[row][v]);
            }
          }
          add_steps(left < Arith::kPartialSteps ? left : Arith::kPartialSteps, partial);
#pragma GCC unroll 16
          for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
            for (int v = 0; v < kVectors; ++v) sum[row][v] = Arith::widen(sum[row][v], partial[row][v], 0);
          }
        }
      }
      const GroupTables& tables = args.tables[chunk];
      const float* row_scales = args.row_scales + chunk * args.row_stride;
      const float* row_sums = args.row_sums + chunk * args.row_stride;
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          const int at = column + v * kLanes;
          F value = Arith::template to_float<Codec<8, false>>(sum[row][v]);
          if constexpr (kZeros) value -= (load<F>(tables.zeros_f32 + at) - float{Arith::kCentre}) * row_sums[row];
          if constexpr (Arith::kQuantizes) value *= row_scales[row];
          float* to = sums + row * kBlockColumns + v * kLanes;
          if constexpr (Arith::kScalesPanel)
            store(to, load<F>(to) + value);
          else
            store(to, Arith::fma(load<F>(tables.scales + at), value, load<F>(to)));
        }
      }
    }
  }
}

template <class Arith, bool kZeros, class = std::make_integer_sequence<int, Arith::kTileRows>>
struct TileFunctions;
template <class Arith, bool kZeros, int... kRows>
struct TileFunctions<Arith, kZeros, std::integer_sequence<int, kRows...>> {
  static constexpr void (*kFor[])(const PanelArgs&) = {nullptr, multiply_tile<Arith, kZeros, kRows + 1>...};
};

template <class Arith, class Isa, class C>
bool tile_block(const BlockArgs& args) {
  const Weights& w = args.weights;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kDwords = Arith::kSlots * 4;
  constexpr int kDecoded = panel_columns<Arith>();
  using Tiles = TileFunctions<Arith, Arith::kZeroAfterSum && C::kZeros>;
  LargestScales<Isa> scales;
  const TileCut cut(args.rows, args.tiles);
  const int first_row = cut.begin(args.tile_begin);
  const int rows_here = cut.begin(args.tile_end) - first_row;
  std::memset(args.sums, 0, static_cast<std::size_t>(rows_here * kBlockColumns) * sizeof(float));
  GroupTables tables[kChunkSteps];
  int chunk_steps[kChunkSteps];
  std::int64_t first_chunk = 0;
  for (std::int64_t begin = 0, end = 0; begin < w.steps; begin = end) {
    int chunks = 0;
    const std::int64_t panel_end = end_of_panel<Arith>(begin, w.steps, w.group_steps);
    for (end = begin; end < panel_end;) {
      const std::int64_t group = end / w.group_steps;
      std::int64_t stop = end + Arith::kChunkSteps;
      if (stop > (group + 1) * w.group_steps) stop = (group + 1) * w.group_steps;
      if (stop > panel_end) stop = panel_end;
      load_group<Isa, C>(w, args.block, group, tables[chunks], scales);
      chunk_steps[chunks++] = static_cast<int>(stop - end);
      end = stop;
    }
    const auto decode = [&](int column) {
      const std::uint32_t* codes = w.codes + begin * w.row_words + args.block * C::kBlockWords;
      std::uint32_t* panel = args.panel;
      for (int chunk = 0; chunk < chunks; ++chunk) {
        decode_panel<Arith, C>(codes, w.row_words, chunk_steps[chunk], tables[chunk], column / 8, (column + kDecoded) / 8, panel);
        codes += chunk_steps[chunk] * w.row_words;
        panel += chunk_steps[chunk] * kDwords * kLanes;
      }
    };
    const int panel_steps = static_cast<int>(end - begin);
    // The codes of the next panel come into L2 meanwhile, a few lines a tile: below these rows, at the end of K from the next block.
    const bool down = end < w.steps;
    const std::uint32_t* next_codes =
        down ? w.codes + end * w.row_words + args.block * C::kBlockWords : w.codes + args.next_block * C::kBlockWords;
    const std::int64_t next_steps =
        down ? (w.steps - end < kChunkSteps ? w.steps - end : kChunkSteps) : (w.steps < kChunkSteps ? w.steps : kChunkSteps);
    const std::int64_t turns = static_cast<std::int64_t>(args.tile_end - args.tile_begin) * (Arith::kScalesPanel ? 1 : chunks) *
                               (kBlockColumns / (Arith::kTileVectors * kLanes));
    CodeFetch fetch{next_codes, w.row_words, C::kBlockWords, static_cast<int>((next_steps + turns - 1) / turns), next_steps};
    const auto multiply = [&](int tile, int column) {
      const int next = tile + 1 < args.tile_end ? tile + 1 : args.tile_begin;
      const int row = cut.begin(tile), rows = cut.rows(tile), next_row = cut.begin(next);
      if (!down && column == 0) prefetch_c(args, 0, row - first_row, row - first_row + rows);
      PanelArgs panel;
      panel.panel = args.panel;
      panel.a = args.a + (begin * args.rows + row * (end - begin)) * kDwords * Arith::kParts;
      panel.ahead = (next_row - row) * (end - begin) * kDwords * Arith::kParts;
      if (next <= tile && column + kDecoded == kBlockColumns) {  // the next panel's first tile, or the first panel's, of the next block
        const std::int64_t at = down ? end : 0, length = end_of_panel<Arith>(at, w.steps, w.group_steps) - at;
        panel.ahead = (at * args.rows + next_row * length - begin * args.rows - row * (end - begin)) * kDwords * Arith::kParts;
      }
      panel.tables = tables;
      panel.chunk_steps = Arith::kScalesPanel ? &panel_steps : chunk_steps;
      panel.chunks = Arith::kScalesPanel ? 1 : chunks;
      panel.column_begin = column;
      panel.column_end = column + kDecoded;
      panel.row_scales = args.row_scales + first_chunk * args.row_stride + row;
      panel.row_sums = args.row_sums + first_chunk * args.row_stride + row;
      panel.begins = args.begins + first_chunk * kChunkPartials * args.row_stride + row;
      panel.row_stride = args.row_stride;
      panel.sums = args.sums + (row - first_row) * kBlockColumns;
      panel.fetch = &fetch;
      Tiles::kFor[rows](panel);
    };
    for (int column = 0; column < kBlockColumns; column += kDecoded) {
      decode(column);
      for (int tile = args.tile_begin; tile < args.tile_end; ++tile) multiply(tile, column);
    }
    first_chunk += chunks;
  }
  store_blocks<Isa, C>(args, rows_here);
  return !scales.bad();
}

}  // namespace
}  // namespace billfish::cpu
