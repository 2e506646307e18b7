// SPDX-License-Identifier: Apache-2.0
// Tiles that decode as they multiply, for vectors of 16 lanes: the panel holds codes, put into columns but not decoded, and two sums for
// every row and vector stay in registers, of the chunk and of the panel. A store of 64 bytes holds up both pipes that multiply for a cycle
// (Zen 5), while shifts and lookups run beside them. Called by tile.hpp. Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/panel.hpp"

namespace billfish::cpu {
namespace {

// Two vectors of columns, in the order of their sums in memory and in that of the panel's codes.
template <class Arith, class V>
[[gnu::always_inline]] inline void load_pair(const void* from, V* out) {
  const V a = load<V>(from), b = load<V>(static_cast<const char*>(from) + sizeof(V));
  out[0] = Arith::kPairsHalves ? even_quarters(a, b) : a;
  out[1] = Arith::kPairsHalves ? odd_quarters(a, b) : b;
}
template <class Arith, class V>
[[gnu::always_inline]] inline void store_pair(void* to, V a, V b) {
  store(to, Arith::kPairsHalves ? low_quarters_in_turn(a, b) : a);
  store(static_cast<char*>(to) + sizeof(V), Arith::kPairsHalves ? high_quarters_in_turn(a, b) : b);
}

// Rows of codes from those that are put into columns to those asked for: a microsecond, and few enough to stay in L1.
constexpr std::int64_t rows_asked(int tiles) { return tiles <= 4 ? 8 : tiles >= 16 ? 2 : 32 / tiles; }
// Up to so many tiles the next panel is put into columns step by step, of more chunk by chunk: a branch that is rarely taken is
// mispredicted when it is (Zen 5, M = 128: 91 instead of 88 % for bf16, 80.5 instead of 77 for int8).
constexpr int kTilesOfFewRows = 8;

// Half a step of the next panel: [pair of column vectors][step][...].
template <class Arith, class C>
[[gnu::always_inline]] inline void sort_some(PanelSort& sort) {
  constexpr int kPairWords = C::kBlockWords / 2;
  const std::uint32_t* words = sort.codes + sort.pair * kPairWords;
  const std::uint32_t* asked = words + sort.asked * sort.row_words + (sort.row + sort.asked < sort.steps ? 0 : sort.after);
#pragma GCC unroll 8
  for (int line = 0; line < kPairWords; line += 16) __builtin_prefetch(asked + line, 0, 3);
  Arith::template sort_pair<C>(words, sort.panel + sort.pair * Arith::kPanelSteps * kPairWords);
  --sort.left;
  sort.pair ^= 1;
  if (sort.pair != 0) return;
  sort.codes += sort.row_words;
  sort.panel += kPairWords;
  ++sort.row;
}
template <class Arith, class C>
[[gnu::noinline]] void sort_rest(PanelSort& sort) {
  while (sort.left > 0) sort_some<Arith, C>(sort);
}

// Steps from the activations that are multiplied to those asked for. A tile's are read for the second pair of vectors while they are in L1,
// and the next tile's follow in memory: asking for those all the time (as decoded tiles do) leaves no room for the codes.
constexpr int kStepsAhead = 8;

template <class Arith, class C, int kRows>
void multiply_codes(const PanelArgs& args) {
  using F = typename Arith::F;
  using U = typename Arith::U;
  using Sum = typename Arith::Sum;
  using Weight = typename Arith::Weight;
  constexpr int kLanes = Arith::kLanes;
  constexpr int kDwords = Arith::kSlots * 4;
  constexpr int kSlots = kDwords / Arith::kUnits;  // dwords of a unit
  constexpr int kPairWords = C::kBlockWords / 2;
  static_assert(Arith::kParts == 1 && Arith::kTileVectors == 2);
  for (int column = 0; column < kBlockColumns; column += 2 * kLanes) {
    const std::uint32_t* panel = args.panel + column / (2 * kLanes) * Arith::kPanelSteps * kPairWords;
    const std::uint32_t* a = args.a;
    float* const sums = args.sums + column;
    F total[kRows][2];
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      total[row][0] = total[row][1] = F{};
      if (!args.first) load_pair<Arith>(sums + row * kBlockColumns, total[row]);
    }
    const bool each_step = args.sort->each_step;
    for (int chunk = 0; chunk < args.chunks; ++chunk) {
      if (!each_step) {
        for (int count = args.chunk_steps[chunk]; args.sort->due(count); count = 0) sort_some<Arith, C>(*args.sort);
      }
      const GroupTables& tables = args.tables[chunk];
      const auto table = Arith::template pair_table<C>(tables.zeros + column);
      Sum sum[kRows][2];
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        sum[row][0] = sum[row][1] =
            Arith::kBeginWords > 0 ? splat<Sum>(args.begins[chunk * kChunkPartials * args.row_stride + row]) : Sum{};
      }
      // Weights are decoded between the dots of those before: a dot that waits for its weight is late for the next one, too.
      Weight now[2] = {Arith::template pair_weight<C>(panel, table, 0, 0), Arith::template pair_weight<C>(panel, table, 0, 1)};
      for (int step = 0; step < args.chunk_steps[chunk]; ++step) {
        if (each_step && args.sort->due(1)) sort_some<Arith, C>(*args.sort);
#pragma GCC unroll 16
        for (int line = 0; line < kDwords * kRows; line += 16) __builtin_prefetch(a + kStepsAhead * kDwords * kRows + line, 0, 3);
#pragma GCC unroll 8
        for (int i = 0; i < kDwords; ++i) {  // the dwords of one unit after each other
          const int d = i % kSlots * Arith::kUnits + i / kSlots;
          const int after = (i + 1) % kDwords, d_after = after % kSlots * Arith::kUnits + after / kSlots;
          if (after == 0) panel += kPairWords;
          Arith::forget_panel(panel);
          Weight next[2];
#pragma GCC unroll 16
          for (int row = 0; row < kRows; ++row) {
            if (row == kRows / 2) next[0] = Arith::template pair_weight<C>(panel, table, d_after, 0);
            const U av = splat<U>(a[d * kRows + row]);
            sum[row][0] = Arith::dot(sum[row][0], now[0], av);
            if (row == kRows - 1) next[1] = Arith::template pair_weight<C>(panel, table, d_after, 1);
            sum[row][1] = Arith::dot(sum[row][1], now[1], av);
          }
          now[0] = next[0];
          now[1] = next[1];
        }
        a += kDwords * kRows;
      }
      F scales[2], zeros[2];
      load_pair<Arith>(tables.scales + column, scales);
      constexpr bool kZeros = Arith::kZeroAfterSum && C::kZeros;
      if constexpr (kZeros) load_pair<Arith>(tables.zeros_f32 + column, zeros);
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const std::int64_t at = chunk * args.row_stride + row;
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          F value = Arith::template to_float<C>(sum[row][v]);
          if constexpr (kZeros) value -= (zeros[v] - float{Arith::kCentre}) * args.row_sums[at];
          if constexpr (Arith::kQuantizes) value *= args.row_scales[at];
          total[row][v] = Arith::fma(scales[v], value, total[row][v]);
        }
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) store_pair<Arith>(sums + row * kBlockColumns, total[row][0], total[row][1]);
  }
}

}  // namespace
}  // namespace billfish::cpu
