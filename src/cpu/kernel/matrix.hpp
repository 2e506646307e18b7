// SPDX-License-Identifier: Apache-2.0
// Kernels for registers that hold matrices. A panel of codes is decoded in L1 and multiplied by every tile of rows. The sums of a chunk
// leave their registers for memory, and are scaled and added up between the products of the chunk after it, which take 16 cycles each.
// Included by the kernels' translation units only.
//
//   for each panel (64 columns x 8 steps, int8 16)
//     for each block side by side
//       for each two tiles of rows    2 x 2 matrices of sums; 1 x 4 for the last one of an odd number
//         for each chunk
//           for each two column vectors: products, then the sums are written
#pragma once

#include "cpu/kernel/matrix_panel.hpp"

namespace billfish::cpu {
namespace {

constexpr int kUnitSums = 4;  // matrices of sums side by side

// Memory of one thread: a panel, zeros, and two units' sums.
template <class Arith>
struct MatrixScratch {
  static constexpr std::int64_t kZeros = decoded_words<Arith>();
  static constexpr std::int64_t kSums = kZeros + kMatrixWords;
  static constexpr std::int64_t kWords = kSums + 2 * kUnitSums * kMatrixWords;
};

// A panel and the tiles of rows that it is multiplied with.
template <class Arith>
struct MatrixArgs {
  const MatrixPanel<Arith>& panel;
  std::uint32_t* scratch;
  TileCut cut;
  int tiles;  // all of A's
  int tile_begin, tile_end;
  const float* row_scales;
  const float* row_sums;
  std::int64_t row_stride;
  float* sums;  // at tile_begin's first row
  CodeFetch* fetch;
};

// Sums of a unit that were written, [vector][row][16], and not yet added up.
template <class Arith, class C, int kTiles>
struct WaitingSums {
  static constexpr int kVectors = kUnitSums / kTiles;
  static constexpr int kVectorWords = kTiles * kMatrixWords;
  const std::uint32_t* from = nullptr;
  float* to = nullptr;
  const float *scales = nullptr, *zeros = nullptr;
  const float *row_scales = nullptr, *row_sums = nullptr;
  int row = 0, rows = 0;

  [[gnu::always_inline]] void add_some(int count) {
    using F = typename Arith::F;
    constexpr bool kZeros = Arith::kQuantizes && C::kBits == 8 && C::kZeros;
    for (const int end = row + count < rows ? row + count : rows; row < end; ++row) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        F value = Arith::template to_float<C>(load<typename Arith::Sum>(from + v * kVectorWords + row * 16));
        if constexpr (kZeros) value -= (load<F>(zeros + 16 * v) - float{Arith::kCentre}) * row_sums[row];
        if constexpr (Arith::kQuantizes) value *= row_scales[row];
        float* sum = to + row * kBlockColumns + 16 * v;
        store(sum, Arith::fma(load<F>(scales + 16 * v), value, load<F>(sum)));
      }
    }
  }
};

// kTiles tiles at a time, as many as there are of those.
template <class Arith, class Isa, class C, int kTiles>
void multiply_tiles(const MatrixArgs<Arith>& args) {
  constexpr int kVectors = kUnitSums / kTiles;
  constexpr std::int64_t kVectorWords = decoded_vector_words<Arith>();
  using Scratch = MatrixScratch<Arith>;
  const MatrixPanel<Arith>& panel = args.panel;
  const std::uint32_t* const zeros = args.scratch + Scratch::kZeros;
  WaitingSums<Arith, C, kTiles> waiting;
  int half = 0;
  for (int tile = args.tile_begin; tile + kTiles <= args.tile_end; tile += kTiles) {
    const int row = args.cut.begin(tile), first_rows = args.cut.rows(tile), rows = args.cut.begin(tile + kTiles) - row;
    const std::uint32_t* a = panel.a;
    const std::uint32_t* decoded = panel.decoded;
    for (int chunk = 0; chunk < panel.chunks; ++chunk) {
      const int matrices = static_cast<int>(matrices_of<Arith>(panel.chunk_steps[chunk]));
      const std::int64_t next_tile = std::int64_t{matrices} * Arith::kParts * kMatrixWords;
      const std::uint32_t* const a_tile = a + tile * next_tile;
      for (int vector = 0; vector < kColumnVectors; vector += kVectors) {
        const std::uint32_t* weights = decoded + vector * kVectorWords;
        const std::uint32_t* a_here = a_tile;
        Isa::template read<0>(zeros);
        Isa::template read<1>(zeros);
        Isa::template read<2>(zeros);
        Isa::template read<3>(zeros);
        const int products = kUnitSums * Arith::kParts * matrices, each = (waiting.rows + products - 1) / products;
        for (int i = 0; i < matrices; ++i) {
          args.fetch->some();
#pragma GCC unroll 2
          for (int part = 0; part < Arith::kParts; ++part) {
            Isa::template read<4>(a_here);
            Isa::template read<6>(weights);
            Arith::template add<0, 4, 6>();
            waiting.add_some(each);
            Isa::template read<7>(weights + kVectorWords);
            Arith::template add<1, 4, 7>();
            waiting.add_some(each);
            if constexpr (kTiles == 2) {
              Isa::template read<5>(a_here + next_tile);
              Arith::template add<2, 5, 6>();
              waiting.add_some(each);
              Arith::template add<3, 5, 7>();
            } else {
              Isa::template read<6>(weights + 2 * kVectorWords);
              Arith::template add<2, 4, 6>();
              waiting.add_some(each);
              Isa::template read<7>(weights + 3 * kVectorWords);
              Arith::template add<3, 4, 7>();
            }
            waiting.add_some(each);
            a_here += kMatrixWords;
          }
          weights += kMatrixWords;
        }
        // The second tile's rows behind the first one's, over lines that are no rows.
        std::uint32_t* left = args.scratch + Scratch::kSums + half * kUnitSums * kMatrixWords;
        half ^= 1;
        Isa::template write<0>(left);
        if constexpr (kTiles == 2) {
          Isa::template write<1>(left + 2 * kMatrixWords);
          Isa::template write<2>(left + first_rows * 16);
          Isa::template write<3>(left + 2 * kMatrixWords + first_rows * 16);
        } else {
          Isa::template write<1>(left + kMatrixWords);
          Isa::template write<2>(left + 2 * kMatrixWords);
          Isa::template write<3>(left + 3 * kMatrixWords);
        }
        const GroupTables& tables = panel.tables[chunk];
        const std::int64_t at = (panel.first_chunk + chunk) * args.row_stride + row;
        waiting = {left,
                   args.sums + (row - args.cut.begin(args.tile_begin)) * kBlockColumns + 16 * vector,
                   tables.scales + 16 * vector,
                   tables.zeros_f32 + 16 * vector,
                   args.row_scales + at,
                   args.row_sums + at,
                   0,
                   rows};
      }
      decoded += panel.chunk_steps[chunk] * kStepWords<Arith>;
      a += args.tiles * next_tile;
    }
  }
  waiting.add_some(waiting.rows);
}

template <class Arith, class Isa, class C>
bool matrix_blocks(const BlockArgs& args) {
  const Weights& w = args.weights;
  using Scratch = MatrixScratch<Arith>;
  LargestScales<Isa> scales;
  const TileCut cut(args.rows, args.tiles);
  const int first_row = cut.begin(args.tile_begin), tiles = args.tile_end - args.tile_begin;
  const int rows_here = cut.begin(args.tile_end) - first_row;
  std::memset(args.sums, 0, static_cast<std::size_t>(std::int64_t{args.blocks} * rows_here * kBlockColumns) * sizeof(float));
  // A chunk's last matrix may reach into lines that were not decoded: whatever they hold meets zeros, but must not be NaN.
  std::memset(args.panel, 0, static_cast<std::size_t>(Scratch::kSums) * sizeof(std::uint32_t));
  Isa::use(cut.rows(args.tile_begin));
  const PanelWalk<Arith> walk(args);
  MatrixPanel<Arith> panel;
  panel.decoded = args.panel;
  for (PanelPlace place = walk.first(); !place.beyond && w.steps > 0; place = walk.after(place)) {
    panel.template decode<Isa, C>(args, place, scales);
    // The codes of the next panel come meanwhile.
    const PanelPlace next = walk.after(place);
    const std::int64_t block = walk.block(next), next_steps = next.end - next.begin;
    for (std::int64_t step = next.begin; step < next.end; step += w.group_steps) prefetch_group<C>(w, block, step / w.group_steps);
    CodeFetch fetch{w.codes + next.begin * w.row_words + block * C::kBlockWords, w.row_words, C::kBlockWords, next_steps,
                    panel.matrices * tiles};
    MatrixArgs<Arith> rows{
        panel,         args.panel,      cut,           args.tiles,      args.tile_begin,
        args.tile_end, args.row_scales, args.row_sums, args.row_stride, args.sums + std::int64_t{place.block} * rows_here * kBlockColumns,
        &fetch};
    multiply_tiles<Arith, Isa, C, 2>(rows);
    if (tiles % 2 != 0) {
      rows.tile_begin = args.tile_end - 1;
      rows.sums += (cut.begin(args.tile_end - 1) - first_row) * kBlockColumns;
      multiply_tiles<Arith, Isa, C, 1>(rows);
    }
  }
  Isa::release();
  store_blocks<Isa, C>(args, 0, rows_here);
  return !scales.bad();
}

}  // namespace
}  // namespace billfish::cpu
