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

#include "cpu/kernel/group.hpp"

namespace billfish::cpu {
namespace {

// All of one block, `steps` steps with one set of zeros, into the panel from `step0` on.
template <class Arith, class C>
[[gnu::always_inline]] inline void decode_panel(const std::uint32_t* codes, std::int64_t row_words, std::int64_t steps,
                                                const GroupTables& tables, std::uint32_t* panel) {
  using U = typename Arith::U;
  using Weight = typename Arith::Weight;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kPairs = kLanes / C::kWords;
  constexpr int kVectors = 4 / kPairs;
  constexpr int kColumns = kLanes / 8;  // j that share a column vector
  constexpr int kStepWords = Arith::kSlots * 4 * kLanes;
  for (int j0 = 0; j0 < 8; j0 += kColumns) {
    typename Arith::template Zero<C> zero[kColumns];
#pragma GCC unroll 2
    for (int j = 0; j < kColumns; ++j) zero[j] = Arith::template zero<C>(tables.zeros + 8 * (j0 + j));
    std::uint32_t* out = panel + j0 / kColumns * (kChunkSteps * kStepWords);
    const std::uint32_t* words = codes + j0 * kVectors * kLanes;
    for (std::int64_t step = 0; step < steps; ++step, words += row_words, out += kStepWords) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        typename Arith::Fields fields[kColumns];
#pragma GCC unroll 2
        for (int j = 0; j < kColumns; ++j) {
          fields[j] = Arith::template fields<C>(load<U>(words + (j * kVectors + v) * kLanes), zero[j]);
        }
#pragma GCC unroll 4
        for (int slot = 0; slot < Arith::kSlots; ++slot) {
          Weight in[kPairs], columns[kPairs];
#pragma GCC unroll 4
          for (int i = 0; i < kPairs; ++i) {
            const int j = i / C::kHalves;
            in[i] = Arith::template weight<C>(fields[j], zero[j], i % C::kHalves, slot);
          }
          pairs_to_columns<kPairs>(in, columns);
#pragma GCC unroll 4
          for (int i = 0; i < kPairs; ++i) store(out + (slot * 4 + v * kPairs + i) * kLanes, columns[i]);
        }
      }
    }
  }
}

// What a tile kernel does for one panel; one chunk an entry of the tables.
struct PanelArgs {
  const std::uint32_t* panel;  // first of kVectors column vectors
  const std::uint32_t* a;      // of this tile of rows, at the panel's first step
  const GroupTables* tables;
  const int* chunk_steps;
  int chunks;
  int column;               // first panel position
  int implied_zero;         // of types that store none; else 0
  const float* row_scales;  // at the panel's first chunk and the tile's first row
  const float* row_sums;
  std::int64_t row_stride;
  float* sums;  // at the tile's first row and `column`
};

template <class Arith, int kRows>
void multiply_tile(const PanelArgs& args) {
  using F = typename Arith::F;
  using U = typename Arith::U;
  using Weight = typename Arith::Weight;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kVectors = Arith::kTileVectors;
  constexpr int kDwords = Arith::kSlots * 4;
  constexpr int kVectorWords = kChunkSteps * kDwords * kLanes;
  const std::uint32_t* panel = args.panel;
  const std::uint32_t* a = args.a;
  for (int chunk = 0; chunk < args.chunks; ++chunk) {
    typename Arith::Sum sum[kRows][kVectors] = {};
    if constexpr (Arith::kZeroAfterSum) {  // integers: an implied zero is subtracted before the sum begins
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const float after = static_cast<float>(-args.implied_zero) * args.row_sums[chunk * args.row_stride + row];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[row][v] = (typename Arith::Sum)splat<U>(static_cast<std::uint32_t>(static_cast<int>(after)));
      }
    }
    constexpr int kStepsAPartial = Arith::kDotsAPartial / (kDwords * Arith::kParts);
    const int steps = args.chunk_steps[chunk];
    for (int step = 0; step < steps;) {
      const int stop = kStepsAPartial == 0 || step + kStepsAPartial > steps ? steps : step + kStepsAPartial;
      typename Arith::Partial partial[kRows][kVectors] = {};
      if constexpr (Arith::kDotsAPartial == 0) std::memcpy(partial, sum, sizeof partial);
      for (; step < stop; ++step) {
#pragma GCC unroll 4
        for (int d = 0; d < kDwords; ++d) {
          Weight w[kVectors];
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) w[v] = load<Weight>(panel + v * kVectorWords + d * kLanes);
#pragma GCC unroll 2
          for (int part = 0; part < Arith::kParts; ++part) {
#pragma GCC unroll 16
            for (int row = 0; row < kRows; ++row) {
              const U av = splat<U>(a[(d * Arith::kParts + part) * kRows + row]);
#pragma GCC unroll 2
              for (int v = 0; v < kVectors; ++v) partial[row][v] = Arith::dot(partial[row][v], w[v], av);
            }
          }
        }
        panel += kDwords * kLanes;
        a += kDwords * Arith::kParts * kRows;
      }
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          if constexpr (Arith::kDotsAPartial == 0)
            sum[row][v] = partial[row][v];
          else
            sum[row][v] = Arith::widen(sum[row][v], partial[row][v]);
        }
      }
    }
    const GroupTables& tables = args.tables[chunk];
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const int at = args.column + v * kLanes;
        F value = Arith::template to_float<Codec<8, false>>(sum[row][v]);
        if constexpr (Arith::kZeroAfterSum) {
          if (args.implied_zero == 0) value -= load<F>(tables.zeros_f32 + at) * args.row_sums[chunk * args.row_stride + row];
        }
        if constexpr (Arith::kQuantizes) value *= args.row_scales[chunk * args.row_stride + row];
        float* to = args.sums + row * kBlockColumns + v * kLanes;
        store(to, Arith::fma(load<F>(tables.scales + at), value, load<F>(to)));
      }
    }
  }
}

template <class Arith, int... kRows>
struct TileFunctions {
  static constexpr void (*kFor[])(const PanelArgs&) = {nullptr, multiply_tile<Arith, kRows>...};
};

template <class Arith>
constexpr auto tile_functions() {
  if constexpr (Arith::kTileRows == 3)
    return TileFunctions<Arith, 1, 2, 3>{};
  else if constexpr (Arith::kTileRows == 6)
    return TileFunctions<Arith, 1, 2, 3, 4, 5, 6>{};
  else
    return TileFunctions<Arith, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>{};
}

template <class Arith, class Isa, class C>
bool tile_block(const BlockArgs& args) {
  const Weights& w = args.weights;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kDwords = Arith::kSlots * 4;
  constexpr int kVectorWords = kChunkSteps * kDwords * kLanes;
  using Tiles = decltype(tile_functions<Arith>());
  BadScales bad{};
  const int first_row = tile_row(args.tile_begin, args.rows, args.tiles);
  const int rows_here = tile_row(args.tile_end, args.rows, args.tiles) - first_row;
  std::memset(args.sums, 0, static_cast<std::size_t>(rows_here * kBlockColumns) * sizeof(float));
  GroupTables tables[kChunkSteps];
  int chunk_steps[kChunkSteps];
  std::int64_t first_chunk = 0;
  for (std::int64_t begin = 0, end = 0; begin < w.steps; begin = end) {
    int chunks = 0;
    for (end = begin; end < w.steps && end < begin + kChunkSteps;) {
      const std::int64_t group = end / w.group_steps;
      std::int64_t stop = end + kChunkSteps;
      if (stop > (group + 1) * w.group_steps) stop = (group + 1) * w.group_steps;
      if (stop > w.steps) stop = w.steps;
      if (stop > begin + kChunkSteps) break;  // the chunk does not fit: next panel
      load_group<Isa, C>(w, args.block, group, tables[chunks], bad);
      decode_panel<Arith, C>(w.codes + end * w.row_words + args.block * C::kBlockWords, w.row_words, stop - end, tables[chunks],
                             args.panel + (end - begin) * kDwords * kLanes);
      chunk_steps[chunks++] = static_cast<int>(stop - end);
      end = stop;
    }
    for (int column = 0; column < kBlockColumns; column += kLanes * Arith::kTileVectors) {
      for (int tile = args.tile_begin; tile < args.tile_end; ++tile) {
        const int row = tile_row(tile, args.rows, args.tiles);
        const int rows = tile_row(tile + 1, args.rows, args.tiles) - row;
        PanelArgs panel;
        panel.panel = args.panel + column / kLanes * kVectorWords;
        panel.a = args.a + (row * w.steps + begin * rows) * kDwords * Arith::kParts;
        panel.tables = tables;
        panel.chunk_steps = chunk_steps;
        panel.chunks = chunks;
        panel.column = column;
        panel.implied_zero = C::kZeros ? 0 : C::kImpliedZero;
        panel.row_scales = args.row_scales + first_chunk * args.row_stride + row;
        panel.row_sums = args.row_sums + first_chunk * args.row_stride + row;
        panel.row_stride = args.row_stride;
        panel.sums = args.sums + (row - first_row) * kBlockColumns + column;
        Tiles::kFor[rows](panel);
      }
    }
    first_chunk += chunks;
  }
  store_blocks<Isa, C>(args, rows_here);
  return !any(bad);
}

}  // namespace
}  // namespace billfish::cpu
