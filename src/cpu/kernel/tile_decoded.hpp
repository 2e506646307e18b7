// SPDX-License-Identifier: Apache-2.0
// Tiles of a decoded panel: sums of a chunk stay in registers. Called by tile.hpp. Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/panel.hpp"

namespace billfish::cpu {
namespace {

// kZeros: subtract stored zeros times the sums of the rows.
template <class Arith, bool kZeros, int kRows>
void multiply_decoded(const PanelArgs& args) {
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
      for (int i = 0; i < kVectors * kLanes; i += 16) __builtin_prefetch(sums + row * kBlockColumns + i, 0, 3);
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

}  // namespace
}  // namespace billfish::cpu
