// SPDX-License-Identifier: Apache-2.0
// Many rows: a panel of codes is brought into columns once, in cache, and multiplied by every tile of rows, as in any blocked product.
// Included by the kernels' translation units only.
//
//   for each panel (64 columns x up to 16 steps; of codes: 64)
//     decode          Marlin words -> [column vector][step][slot][k pair][V columns], panel order; or codes in columns (tile_codes.hpp)
//     for each tile of rows                                  A streams through, read once; the next panel of codes is put into columns
//       for each kVectors column vectors of the panel        stays in L1
//         for each chunk of the panel: sums in registers, times scale, into args.sums; of codes: into registers
#pragma once

#include <utility>

#include "cpu/kernel/decode.hpp"
#include "cpu/kernel/tile_codes.hpp"
#include "cpu/kernel/tile_decoded.hpp"

namespace billfish::cpu {
namespace {

using TileFunction = void (*)(const PanelArgs&);
template <class Arith, class C, int kRows>
constexpr TileFunction tile_function() {
  constexpr bool kZeros = Arith::kZeroAfterSum && C::kZeros;
  if constexpr (Arith::kPanelOfCodes)
    return multiply_codes<Arith, C, kRows>;
  else
    return multiply_decoded<Arith, kZeros, kRows>;
}
template <class Arith, class C, class = std::make_integer_sequence<int, Arith::kTileRows>>
struct TileFunctions;
template <class Arith, class C, int... kRows>
struct TileFunctions<Arith, C, std::integer_sequence<int, kRows...>> {
  static constexpr TileFunction kFor[] = {nullptr, tile_function<Arith, C, kRows + 1>()...};
};

template <class Arith, class Isa, class C>
bool tile_block(const BlockArgs& args) {
  const Weights& w = args.weights;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kDwords = Arith::kSlots * 4;
  constexpr int kDecoded = panel_columns<Arith>();
  using Tiles = TileFunctions<Arith, C>;
  LargestScales<Isa> scales;
  const TileCut cut(args.rows, args.tiles);
  const int first_row = cut.begin(args.tile_begin);
  const int rows_here = cut.begin(args.tile_end) - first_row;
  // Without rows of weights there is no panel, and so no first one.
  if (!Arith::kPanelOfCodes || w.steps == 0) std::memset(args.sums, 0, static_cast<std::size_t>(rows_here * kBlockColumns) * sizeof(float));
  const int tiles = args.tile_end - args.tile_begin;
  const std::int64_t asked = rows_asked(tiles);
  GroupTables tables[Arith::kPanelSteps];
  int chunk_steps[Arith::kPanelSteps];
  std::int64_t first_chunk = 0;
  std::uint32_t *panel_here = args.panel, *panel_next = args.panel + panel_words<Arith>() / 2;  // the next one of panels of codes
  const bool ready = Arith::kPanelOfCodes && args.ready->block == args.block;
  if (ready && args.ready->panel != panel_here) std::swap(panel_here, panel_next);
  if constexpr (Arith::kPanelOfCodes) *args.ready = {};
  [[maybe_unused]] const std::int64_t after = (args.next_block - args.block) * C::kBlockWords - w.steps * w.row_words;
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
      std::uint32_t* panel = panel_here;
      if constexpr (Arith::kPanelOfCodes) {
        if (begin > 0 || ready) return;
        PanelSort sort{codes, w.row_words, panel, 0, w.steps, asked, after};
        sort.left = 2 * end;
        return sort_rest<Arith, C>(sort);
      }
      for (int chunk = 0; chunk < chunks; ++chunk) {
        decode_panel<Arith, C>(codes, w.row_words, chunk_steps[chunk], tables[chunk], column / 8, (column + kDecoded) / 8, panel);
        codes += chunk_steps[chunk] * w.row_words;
        panel += chunk_steps[chunk] * kDwords * kLanes;
      }
    };
    const int panel_steps = static_cast<int>(end - begin);
    // The codes of the next panel come meanwhile, a few lines a tile: below these rows, at the end of K from the next block.
    const bool down = end < w.steps;
    const std::uint32_t* next_codes =
        down ? w.codes + end * w.row_words + args.block * C::kBlockWords : w.codes + args.next_block * C::kBlockWords;
    const std::int64_t next_begin = down ? end : 0;
    const std::int64_t next_steps = end_of_panel<Arith>(next_begin, w.steps, w.group_steps) - next_begin;
    const std::int64_t turns =
        static_cast<std::int64_t>(tiles) * (Arith::kScalesPanel ? 1 : chunks) * (kBlockColumns / (Arith::kTileVectors * kLanes));
    CodeFetch fetch{next_codes, w.row_words, C::kBlockWords, next_steps, turns};
    // Panels of codes: the next one is put into columns meanwhile.
    const bool more = down || args.next_block != args.block;
    PanelSort sort{next_codes, w.row_words, panel_next, next_begin, w.steps, asked, after};
    sort.left = more ? 2 * next_steps : 0;
    sort.each = next_steps;
    sort.turns = tiles * (end - begin);
    sort.each_step = tiles <= kTilesOfFewRows;
    for (std::int64_t step = next_begin; step < next_begin + next_steps; step += w.group_steps)
      prefetch_group<C>(w, down ? args.block : args.next_block, step / w.group_steps);
    const auto multiply = [&](int tile, int column) {
      const int next = tile + 1 < args.tile_end ? tile + 1 : args.tile_begin;
      const int row = cut.begin(tile), rows = cut.rows(tile), next_row = cut.begin(next);
      if (!down && column == 0) prefetch_c(args, 0, row - first_row, row - first_row + rows);
      PanelArgs panel;
      panel.panel = panel_here;
      panel.a = args.a + (begin * args.rows + row * (end - begin)) * kDwords * Arith::kParts;
      panel.ahead = (next_row - row) * (end - begin) * kDwords * Arith::kParts;
      if (next <= tile && column + kDecoded == kBlockColumns) {  // the next panel's first tile, or the first panel's, of the next block
        panel.ahead = (next_begin * args.rows + next_row * next_steps - begin * args.rows - row * (end - begin)) * kDwords * Arith::kParts;
      }
      panel.tables = tables;
      panel.chunk_steps = Arith::kScalesPanel ? &panel_steps : chunk_steps;
      panel.chunks = Arith::kScalesPanel ? 1 : chunks;
      panel.column_begin = column;
      panel.column_end = column + kDecoded;
      panel.first = begin == 0;
      panel.row_scales = args.row_scales + first_chunk * args.row_stride + row;
      panel.row_sums = args.row_sums + first_chunk * args.row_stride + row;
      panel.begins = args.begins + first_chunk * kChunkPartials * args.row_stride + row;
      panel.row_stride = args.row_stride;
      panel.sums = args.sums + (row - first_row) * kBlockColumns;
      panel.fetch = &fetch;
      panel.sort = &sort;
      Tiles::kFor[rows](panel);
    };
    for (int column = 0; column < kBlockColumns; column += kDecoded) {
      decode(column);
      for (int tile = args.tile_begin; tile < args.tile_end; ++tile) {
        multiply(tile, column);
        // C while the sums are in L1, and among dots: its lines come from memory.
        if (!down && column + kDecoded == kBlockColumns)
          store_blocks<Isa, C>(args, cut.begin(tile) - first_row, cut.begin(tile + 1) - first_row);
      }
    }
    if constexpr (Arith::kPanelOfCodes) {
      sort_rest<Arith, C>(sort);
      std::swap(panel_here, panel_next);
      if (!down && more) *args.ready = {args.next_block, panel_here};
    }
    first_chunk += chunks;
  }
  if (w.steps == 0) store_blocks<Isa, C>(args, 0, rows_here);
  return !scales.bad();
}

}  // namespace
}  // namespace billfish::cpu
