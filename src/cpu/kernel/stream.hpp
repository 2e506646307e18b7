// SPDX-License-Identifier: Apache-2.0
// Few rows: codes go from memory through registers into the sums, once for every tile of rows; nothing decoded is ever stored.
// Included by the kernels' translation units only.
//
//   for each chunk of steps                          one group, up to 16 steps
//     for each block side by side                    blocks to come are asked for meanwhile: CodesAhead
//       for each tile of rows                        the second tile finds the codes in L1
//         for each part of the block                 kColumns of the eight j: as many sums as registers hold
//           for each step: decode words, multiply    sums[row][column] lanes are k pairs x columns
//           add up the k pairs, times scale, into args.sums
#pragma once

#include <utility>

#include "cpu/kernel/stream_columns.hpp"

namespace billfish::cpu {
namespace {

// One tile of kRows rows, kColumns of the j of one block, one chunk.
template <class Arith, class C, int kRows, int kColumns>
[[gnu::always_inline]] inline void stream_part(const std::uint32_t* codes, std::int64_t row_words, const Ahead& ahead, std::int64_t steps,
                                               const std::uint32_t* a, const GroupTables& tables, int j0, ChunkRows rows, float* sums) {
  using U = typename Arith::U;
  using Sum = typename Arith::Sum;
  using Partial = typename Arith::Partial;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kPairs = kLanes / C::kWords;  // k pairs a vector
  constexpr int kVectors = 4 / kPairs;        // vectors a step and j
  constexpr int kPartWords = kColumns * kVectors * kLanes;
  constexpr int kSums = kColumns * C::kHalves;
  constexpr int kHalves = Arith::kJoinsHalves ? 1 : C::kHalves;  // that have partial sums of their own
  typename Arith::template Zero<C> zero[C::kZeros ? kColumns : 1];
#pragma GCC unroll 8
  for (int j = 0; j < (C::kZeros ? kColumns : 1); ++j) zero[j] = Arith::template zero<C>(tables.zeros + 8 * (j0 + j));
  const std::uint32_t* words = codes + j0 * kVectors * kLanes;
  const auto add_steps = [&](std::int64_t count, Partial(&partial)[kRows][kColumns * kHalves]) __attribute__((always_inline)) {
    for (std::int64_t step = 0; step < count; ++step) {
      prefetch_codes<kLanes == 16 && kRows <= kRowsAskedTwice, kPartWords>(words, ahead, step);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (Arith::kSlotsOutside && kRows <= 2) {
          // Codes are loaded again for every slot: all sums take their turn before the first one is needed again.
#pragma GCC unroll 4
          for (int slot = 0; slot < Arith::kSlots; ++slot) {
            U av[kRows];
#pragma GCC unroll 2
            for (int row = 0; row < kRows; ++row) {
              av[row] = load<U>(a + ((v * Arith::kSlots + slot) * kRows + row) * kLanes);
              Arith::once(av[row]);
            }
            Arith::forget(words);
#pragma GCC unroll 8
            for (int j = 0; j < kColumns; ++j) {
              const auto& z = zero[C::kZeros ? j : 0];
              const auto fields = Arith::template fields<C, kRows>(load<U>(words + (j * kVectors + v) * kLanes), z);
#pragma GCC unroll 2
              for (int h = 0; h < kHalves; ++h) {
                const typename Arith::Weight w = Arith::template weight<C>(fields, z, h, slot);
#pragma GCC unroll 2
                for (int row = 0; row < kRows; ++row) {
                  Partial& s = partial[row][j * kHalves + h];
                  s = Arith::dot(s, w, av[row]);
                }
              }
            }
          }
          continue;
        }
#pragma GCC unroll 8
        for (int j = 0; j < kColumns; ++j) {
          const auto& z = zero[C::kZeros ? j : 0];
          const auto fields = Arith::template fields<C, kRows>(load<U>(words + (j * kVectors + v) * kLanes), z);
#pragma GCC unroll 4
          for (int slot = 0; slot < Arith::kSlots; ++slot) {
            typename Arith::Weight w[kHalves];
#pragma GCC unroll 2
            for (int h = 0; h < kHalves; ++h) w[h] = Arith::template weight<C>(fields, z, h, slot);
#pragma GCC unroll 2
            for (int part = 0; part < Arith::kParts; ++part) {
#pragma GCC unroll 8
              for (int row = 0; row < kRows; ++row) {
                const std::uint32_t* from = a + (((v * Arith::kSlots + slot) * Arith::kParts + part) * kRows + row) * kLanes;
                if constexpr (Arith::kPartialSteps > 0) {
                  const U* values = reinterpret_cast<const U*>(from);
                  if (row % 2 == 0 && row + 1 < kRows)
                    Arith::Instructions::dot_bytes(partial[row][j], partial[row + 1][j], w[0], values);
                  else if (row % 2 == 0)
                    Arith::Instructions::dot_bytes(partial[row][j], w[0], *values);
                } else {
                  U av = load<U>(from);
                  if constexpr (kHalves == 2 && kRows >= 3) Arith::once(av);
#pragma GCC unroll 2
                  for (int h = 0; h < kHalves; ++h) {
                    Partial& s = partial[row][j * kHalves + h];
                    s = Arith::dot(s, w[h], av);
                  }
                }
              }
            }
          }
        }
      }
      words += row_words;
      a += kVectors * Arith::kSlots * Arith::kParts * kRows * kLanes;
    }
  };
  Sum sum[kRows][kSums] = {};
  if constexpr (Arith::kPartialSteps == 0) {
    add_steps(steps, sum);
  } else {
    // Narrow sums, which begin where packing says; at the end of the chunk both join the sums.
    Partial partial[kChunkPartials][kRows][kColumns] = {};
#pragma GCC unroll 2
    for (int part = 0; part < kChunkPartials; ++part) {
      const std::int64_t left = steps - part * Arith::kPartialSteps;
      if (part > 0 && left <= 0) break;
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        const Partial begin = load<Partial>(rows.begins + part * rows.begin_distance + row * Arith::kBeginWords);
#pragma GCC unroll 8
        for (int j = 0; j < kColumns; ++j) {
          partial[part][row][j] = begin;
          Arith::once(partial[part][row][j]);
        }
      }
      add_steps(left < Arith::kPartialSteps ? left : Arith::kPartialSteps, partial[part]);
    }
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
      for (int j = 0; j < kColumns; ++j)
        if constexpr (C::kHalves == 2) Arith::widen(partial[0][row][j], partial[1][row][j], &sum[row][j * C::kHalves]);
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums / kPairs; ++i) {
      const int at = 8 * j0 + i * kLanes;
      Sum both;
      if constexpr (Arith::kJoinsHalves && C::kHalves == 2)
        both = Arith::Instructions::sum_halves(sum[row][2 * i], sum[row][2 * i + 1]);
      else
        both = sum_pairs<kPairs>(&sum[row][i * kPairs]);
      add_chunk<Arith, C>(both, at, tables, rows, row, sums);
    }
  }
}

template <class Arith, class C, int kRows>
[[gnu::noinline]] void stream_chunk(const std::uint32_t* codes, std::int64_t row_words, const Ahead& ahead, std::int64_t steps,
                                    const std::uint32_t* a, const GroupTables& tables, const ChunkRows& rows, float* sums) {
  constexpr int kColumns = Arith::template stream_columns<C>(kRows);
  if constexpr (Arith::kByColumns) {
#pragma GCC unroll 1
    for (int column = 0; column < kBlockColumns; column += 8 * kColumns) {
      column_part<Arith, C, kRows, 8 * kColumns / Arith::kLanes>(codes, row_words, ahead, steps, a, tables, column, rows, sums);
    }
  } else {
#pragma GCC unroll 1
    for (int j0 = 0; j0 + kColumns <= 8; j0 += kColumns) {
      stream_part<Arith, C, kRows, kColumns>(codes, row_words, ahead, steps, a, tables, j0, rows, sums);
    }
    if constexpr (constexpr int kRest = 8 % kColumns; kRest > 0) {
      stream_part<Arith, C, kRows, kRest>(codes, row_words, ahead, steps, a, tables, 8 - kRest, rows, sums);
    }
  }
}

template <class Arith, class C, class = std::make_integer_sequence<int, Arith::kStreamRows>>
struct StreamFunctions;
template <class Arith, class C, int... kRows>
struct StreamFunctions<Arith, C, std::integer_sequence<int, kRows...>> {
  static constexpr decltype(&stream_chunk<Arith, C, 1>) kFor[] = {nullptr, stream_chunk<Arith, C, kRows + 1>...};
};

template <class Arith, class Isa, class C>
bool stream_blocks(const BlockArgs& args) {
  [[maybe_unused]] std::uint32_t mode = 0;
  if constexpr (Arith::kSubnormals) mode = Isa::keep_subnormals();
  const Weights& w = args.weights;
  constexpr int kWordsARowStep = Arith::kSlots * Arith::kParts * 4 * (Arith::kByColumns ? 1 : C::kWords);
  LargestScales<Isa> scales;
  std::memset(args.sums, 0, static_cast<std::size_t>(args.blocks * args.rows * kBlockColumns) * sizeof(float));
  const TileCut cut(args.rows, args.tiles);
  std::int64_t chunk = 0;
  GroupTables tables;
  for (std::int64_t begin = 0, end = 0; begin < w.steps; begin = end, ++chunk) {
    const std::int64_t group = begin / w.group_steps;
    end = begin + Arith::kChunkSteps;
    if (end > (group + 1) * w.group_steps) end = (group + 1) * w.group_steps;
    if (end > w.steps) end = w.steps;
    // Which codes to ask for: the same steps of blocks further on, from the last blocks on of the first blocks' next chunk, at the end of K
    // of the next blocks' first chunk. Never straight down: rows of C of a power of two columns share the few ways of one cache set.
    const std::int64_t wrap =
        (end < w.steps ? (end - begin) * w.row_words : (args.next_block - args.block) * C::kBlockWords - begin * w.row_words) -
        args.blocks * C::kBlockWords;
    for (int block = 0; block < args.blocks; ++block) {
      load_group<Isa, C>(w, args.block + block, group, tables, scales);
      if (end == w.steps)
        prefetch_group<C>(w, args.next_block + block, 0);
      else
        prefetch_group<C>(w, args.block + block, end / w.group_steps);
      if (end == w.steps) prefetch_c(args, block, 0, args.rows);
      const std::uint32_t* codes = w.codes + begin * w.row_words + (args.block + block) * C::kBlockWords;
      float* sums = args.sums + static_cast<std::int64_t>(block) * args.rows * kBlockColumns;
      // The sums that come next, which are in L2 when there are many rows. Never what lies behind them: that is another thread's.
      const std::int64_t block_sums = args.rows * kBlockColumns, next_sums = block + 1 < args.blocks ? block_sums : -block * block_sums;
      for (int i = 0; (!Arith::kByColumns || args.rows <= kSumsAtOnce) && i < block_sums; i += 16)
        __builtin_prefetch(sums + next_sums + i, 0, 3);
      const auto words_to = [&](int ahead) {
        if (ahead > args.blocks) ahead = args.blocks;
        return ahead * C::kBlockWords + (block + ahead < args.blocks ? 0 : wrap);
      };
      static constexpr Ahead kNothing;
      Ahead ahead;
      for (int i = 0; i < kAheadSteps; ++i) ahead.near[i] = words_to(args.ahead.near[i]);
      if (args.ahead.far > 0) ahead.far = words_to(args.ahead.far);
      for (int tile = 0; tile < args.tiles; ++tile) {
        const int row = cut.begin(tile), rows = cut.rows(tile);
        const std::uint32_t* a = args.a + (row * w.steps + begin * rows) * kWordsARowStep;
        const std::int64_t at = chunk * args.row_stride + row;
        const ChunkRows of_rows{args.row_scales + at, args.row_sums + at,
                                args.begins + (chunk * kChunkPartials * args.row_stride + row) * Arith::kBeginWords,
                                args.row_stride * Arith::kBeginWords, next_sums};
        float* to = sums + row * kBlockColumns;
        StreamFunctions<Arith, C>::kFor[rows](codes, w.row_words, tile == 0 ? ahead : kNothing, end - begin, a, tables, of_rows, to);
      }
    }
  }
  if constexpr (Arith::kSubnormals) Isa::restore_mode(mode);
  store_blocks<Isa, C>(args, 0, args.rows);
  return !scales.bad();
}

}  // namespace
}  // namespace billfish::cpu
