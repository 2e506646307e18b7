// SPDX-License-Identifier: Apache-2.0
// Few rows by columns, for vectors of 16 lanes, and how the sums of a chunk join the result, by columns or not. Called by stream.hpp.
// Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/group.hpp"

namespace billfish::cpu {
namespace {

// Up to so many rows the sums of the next block are asked for at once, of more a row a step: a burst of them holds up codes and dots.
constexpr int kSumsAtOnce = 4;
constexpr int kSumSteps = 8;

// What packing left of a tile of rows and a chunk; and where the next block's sums are.
struct ChunkRows {
  const float* scales;
  const float* sums;
  const std::uint32_t* begins;
  std::int64_t begin_distance;  // from one partial sum to the next
  std::int64_t next_sums;       // from these sums to those
};

// In words from the codes of a step to those to ask for: into L1, of steps in turn, and into L2. Zero asks for what is there.
struct Ahead {
  std::int64_t near[kAheadSteps] = {};
  std::int64_t far = 0;
};

// kWords from words on, and twice: see CodesAhead.
template <bool kTwice, int kWords>
[[gnu::always_inline]] inline void prefetch_codes(const std::uint32_t* words, const Ahead& ahead, std::int64_t step) {
  const std::uint32_t *near = words + ahead.near[step % kAheadSteps], *far = words + ahead.far;
#pragma GCC unroll 16
  for (int line = 0; line < kWords; line += 16) __builtin_prefetch(near + line, 0, 3);
#pragma GCC unroll 16
  for (int line = 0; kTwice && line < kWords; line += 16) __builtin_prefetch(far + line, 0, 2);
}

// The sums of a chunk of one row from panel position `at` on join the result.
template <class Arith, class C>
[[gnu::always_inline]] inline void add_chunk(typename Arith::Sum sum, int at, const GroupTables& tables, ChunkRows rows, int row,
                                             float* sums) {
  using F = typename Arith::F;
  F value = Arith::template to_float<C>(sum);
  constexpr float kZero = C::kImpliedZero - Arith::kCentre;
  if constexpr (Arith::kZeroAfterSum && C::kZeros) value -= (load<F>(tables.zeros_f32 + at) - float{Arith::kCentre}) * rows.sums[row];
  if constexpr (Arith::kZeroAfterSum && !C::kZeros && kZero != 0 && Arith::kBeginWords == 0) value -= splat<F>(kZero * rows.sums[row]);
  if constexpr (Arith::kQuantizes) value *= rows.scales[row];
  float* to = sums + row * kBlockColumns + at;
  store(to, Arith::fma(load<F>(tables.scales + at), value, load<F>(to)));
}

// One tile of kRows rows, kVectors vectors of 16 columns of one block, one chunk: pairs or quads of whole columns, so that lanes need not
// be added up at the end of a chunk, and activations are broadcast from a quarter of the memory.
template <class Arith, class C, int kRows, int kVectors>
[[gnu::always_inline]] inline void column_part(const std::uint32_t* codes, std::int64_t row_words, const Ahead& ahead, std::int64_t steps,
                                               const std::uint32_t* a, const GroupTables& tables, int column, ChunkRows rows, float* sums) {
  using U = typename Arith::U;
  using Sum = typename Arith::Sum;
  static_assert(Arith::kParts == 1);
  constexpr int kLanes = Arith::kLanes;
  constexpr int kVectorWords = 2 * 4 * C::kWords;  // of two j and one step
  constexpr int kDwords = Arith::kSlots * 4;
  typename Arith::template ColumnTable<C> table[C::kZeros ? kVectors : 1];
#pragma GCC unroll 4
  for (int v = 0; v < (C::kZeros ? kVectors : 1); ++v) table[v] = Arith::template column_table<C>(tables.zeros + column + v * kLanes);
  const std::uint32_t* words = codes + column / kLanes * kVectorWords;
  Sum sum[kRows][kVectors];
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[row][v] = Arith::kBeginWords > 0 ? splat<Sum>(rows.begins[row]) : Sum{};
  }
  for (std::int64_t step = 0; step < steps; ++step) {
    // The next block's sums, a row a step.
    for (std::int64_t row = step; kRows > kSumsAtOnce && row < kRows; row += kSumSteps) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) __builtin_prefetch(sums + rows.next_sums + row * kBlockColumns + column + v * kLanes, 0, 3);
    }
    prefetch_codes<kRows <= kRowsAskedTwice, kVectors * kVectorWords>(words, ahead, step);
#pragma GCC unroll 4
    for (int unit = 0; unit < Arith::kUnits; ++unit) {
      typename Arith::template Codes<C> codes_of[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) codes_of[v] = Arith::template column_codes<C>(words + v * kVectorWords, unit);
#pragma GCC unroll 4
      for (int d = unit; d < kDwords; d += Arith::kUnits) {
        typename Arith::Weight w[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v)
          w[v] = Arith::template column_weight<C>(codes_of[v], table[C::kZeros ? v : 0], d / Arith::kUnits);
#pragma GCC unroll 12
        for (int row = 0; row < kRows; ++row) {
          const U av = splat<U>(a[d * kRows + row]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) sum[row][v] = Arith::dot(sum[row][v], w[v], av);
        }
      }
    }
    words += row_words;
    a += kDwords * kRows;
  }
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) add_chunk<Arith, C>(sum[row][v], column + v * kLanes, tables, rows, row, sums);
  }
}

}  // namespace
}  // namespace billfish::cpu
