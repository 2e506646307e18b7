// SPDX-License-Identifier: Apache-2.0
// Few rows: codes go from memory through registers into the sums, once for every tile of rows; nothing decoded is ever stored.
// Included by the kernels' translation units only.
//
//   for each chunk of steps                          one group, up to 16 steps
//     for each block side by side                    the next block is prefetched meanwhile
//       for each tile of rows                        the second tile finds the codes in L1
//         for each part of the block                 kColumns of the eight j: as many sums as registers hold
//           for each step: decode words, multiply    sums[row][column] lanes are k pairs x columns
//           add up the k pairs, times scale, into args.sums
#pragma once

#include "cpu/kernel/group.hpp"

namespace billfish::cpu {
namespace {

// One tile of kRows rows, kColumns of the j of one block, one chunk.
template <class Arith, class C, int kRows, int kColumns>
[[gnu::always_inline]] inline void stream_part(const std::uint32_t* codes, std::int64_t row_words, std::int64_t ahead, std::int64_t steps,
                                               const std::uint32_t* a, const GroupTables& tables, int j0, const float* row_scales,
                                               const float* row_sums, float* sums) {
  using F = typename Arith::F;
  using U = typename Arith::U;
  using Sum = typename Arith::Sum;
  using Partial = typename Arith::Partial;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kPairs = kLanes / C::kWords;  // k pairs a vector
  constexpr int kVectors = 4 / kPairs;        // vectors a step and j
  constexpr int kPartWords = kColumns * kVectors * kLanes;
  constexpr int kSums = kColumns * C::kHalves;
  typename Arith::template Zero<C> zero[C::kZeros ? kColumns : 1];
#pragma GCC unroll 8
  for (int j = 0; j < (C::kZeros ? kColumns : 1); ++j) zero[j] = Arith::template zero<C>(tables.zeros + 8 * (j0 + j));
  // Partial sums may be narrower than sums: then they join them every so many steps.
  constexpr int kDotsAStep = kVectors * Arith::kSlots * Arith::kParts;
  constexpr std::int64_t kStepsAPartial = Arith::kDotsAPartial / kDotsAStep;
  Sum sum[kRows][kSums] = {};
  const std::uint32_t* words = codes + j0 * kVectors * kLanes;
  for (std::int64_t step = 0; step < steps;) {
    const std::int64_t stop = kStepsAPartial == 0 || step + kStepsAPartial > steps ? steps : step + kStepsAPartial;
    Partial partial[kRows][kSums] = {};
    for (; step < stop; ++step) {
#pragma GCC unroll 16
      for (int line = 0; line < kPartWords; line += 16) __builtin_prefetch(words + ahead + line, 0, 3);
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
              for (int h = 0; h < C::kHalves; ++h) {
                const typename Arith::Weight w = Arith::template weight<C>(fields, z, h, slot);
#pragma GCC unroll 2
                for (int row = 0; row < kRows; ++row) {
                  Partial& s = partial[row][j * C::kHalves + h];
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
            typename Arith::Weight w[C::kHalves];
#pragma GCC unroll 2
            for (int h = 0; h < C::kHalves; ++h) w[h] = Arith::template weight<C>(fields, z, h, slot);
#pragma GCC unroll 2
            for (int part = 0; part < Arith::kParts; ++part) {
#pragma GCC unroll 4
              for (int row = 0; row < kRows; ++row) {
                U av = load<U>(a + (((v * Arith::kSlots + slot) * Arith::kParts + part) * kRows + row) * kLanes);
                if constexpr (C::kHalves == 2 && kRows >= 3) Arith::once(av);
#pragma GCC unroll 2
                for (int h = 0; h < C::kHalves; ++h) {
                  Partial& s = partial[row][j * C::kHalves + h];
                  s = Arith::dot(s, w[h], av);
                }
              }
            }
          }
        }
      }
      words += row_words;
      a += kVectors * Arith::kSlots * Arith::kParts * kRows * kLanes;
    }
#pragma GCC unroll 4
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int i = 0; i < kSums; ++i) {
        if constexpr (Arith::kDotsAPartial == 0)
          sum[row][i] = partial[row][i];
        else
          sum[row][i] = Arith::widen(sum[row][i], partial[row][i]);
      }
    }
  }
#pragma GCC unroll 4
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums / kPairs; ++i) {
      const int at = 8 * j0 + i * kLanes;
      F value = Arith::template to_float<C>(sum_pairs<kPairs>(&sum[row][i * kPairs]));
      if constexpr (Arith::kZeroAfterSum && C::kZeros) value -= load<F>(tables.zeros_f32 + at) * row_sums[row];
      if constexpr (Arith::kZeroAfterSum && !C::kZeros) value -= splat<F>(static_cast<float>(C::kImpliedZero) * row_sums[row]);
      if constexpr (Arith::kQuantizes) value *= row_scales[row];
      float* to = sums + row * kBlockColumns + at;
      store(to, Arith::fma(load<F>(tables.scales + at), value, load<F>(to)));
    }
  }
}

template <class Arith, class C, int kRows>
[[gnu::noinline]] void stream_chunk(const std::uint32_t* codes, std::int64_t row_words, std::int64_t ahead, std::int64_t steps,
                                    const std::uint32_t* a, const GroupTables& tables, const float* row_scales, const float* row_sums,
                                    float* sums) {
  constexpr int kColumns = Arith::template stream_columns<C>(kRows);
#pragma GCC unroll 1
  for (int j0 = 0; j0 < 8; j0 += kColumns) {
    stream_part<Arith, C, kRows, kColumns>(codes, row_words, ahead, steps, a, tables, j0, row_scales, row_sums, sums);
  }
}

template <class Arith, class Isa, class C>
bool stream_blocks(const BlockArgs& args) {
  const Weights& w = args.weights;
  constexpr int kWordsARowStep = Arith::kSlots * Arith::kParts * 4 * C::kWords;
  BadScales bad{};
  std::memset(args.sums, 0, static_cast<std::size_t>(args.blocks * args.rows * kBlockColumns) * sizeof(float));
  std::int64_t chunk = 0;
  GroupTables tables;
  for (std::int64_t begin = 0, end = 0; begin < w.steps; begin = end, ++chunk) {
    const std::int64_t group = begin / w.group_steps;
    end = begin + kChunkSteps;
    if (end > (group + 1) * w.group_steps) end = (group + 1) * w.group_steps;
    if (end > w.steps) end = w.steps;
    // Where the prefetches go: the same steps of the next block, from the last block to the next chunk of the first, at the end of K to
    // the first chunk of the next blocks. Never straight down: rows of C of a power of two columns share the few ways of one cache set.
    const std::int64_t down = end < w.steps ? (end - begin) * w.row_words - (args.blocks - 1) * C::kBlockWords
                                            : (args.next_block - args.block - args.blocks + 1) * C::kBlockWords - begin * w.row_words;
    for (int block = 0; block < args.blocks; ++block) {
      load_group<Isa, C>(w, args.block + block, group, tables, bad);
      const std::uint32_t* codes = w.codes + begin * w.row_words + (args.block + block) * C::kBlockWords;
      float* sums = args.sums + static_cast<std::int64_t>(block) * args.rows * kBlockColumns;
      for (int tile = 0; tile < args.tiles; ++tile) {
        const int row = tile_row(tile, args.rows, args.tiles);
        const int rows = tile_row(tile + 1, args.rows, args.tiles) - row;
        const std::uint32_t* a = args.a + (row * w.steps + begin * rows) * kWordsARowStep;
        const float* scales = args.row_scales + chunk * args.row_stride + row;
        const float* row_sums = args.row_sums + chunk * args.row_stride + row;
        float* to = sums + row * kBlockColumns;
        const std::int64_t next = tile > 0 ? 0 : block + 1 < args.blocks ? C::kBlockWords : down;
        switch (rows) {
          case 1: stream_chunk<Arith, C, 1>(codes, w.row_words, next, end - begin, a, tables, scales, row_sums, to); break;
          case 2: stream_chunk<Arith, C, 2>(codes, w.row_words, next, end - begin, a, tables, scales, row_sums, to); break;
          case 3: stream_chunk<Arith, C, 3>(codes, w.row_words, next, end - begin, a, tables, scales, row_sums, to); break;
          default: stream_chunk<Arith, C, 4>(codes, w.row_words, next, end - begin, a, tables, scales, row_sums, to); break;
        }
      }
    }
  }
  store_blocks<Isa, C>(args, args.rows);
  return !any(bad);
}

}  // namespace
}  // namespace billfish::cpu
