// SPDX-License-Identifier: Apache-2.0
// Rows of A into matrices: [chunk][tile of rows][matrix along k][part][row][16 dwords of k]. Zeros fill a chunk's last matrix; of lines
// beyond a tile's rows one may be read, for sums that nobody reads. Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/matrix_arithmetic.hpp"

namespace billfish::cpu {
namespace {

// One chunk of one row; `out` is the row's line in the chunk's first matrix.
template <class Arith, class Isa>
[[gnu::always_inline]] inline typename Isa::I pack_lines(float* values, std::int64_t steps, const Quantized& q, std::uint32_t* out) {
  const std::int64_t matrices = (steps + Arith::kMatrixSteps - 1) / Arith::kMatrixSteps;
  const std::int64_t filled = steps * kStepRows;
  std::memset(values + filled, 0, static_cast<std::size_t>(matrices * Arith::kMatrixRows - filled) * sizeof(float));
  typename Isa::I sums{};
  for (std::int64_t i = 0; i < matrices; ++i)
    Arith::pack_line(values + i * Arith::kMatrixRows, q, sums, out + i * Arith::kParts * kMatrixWords);
  return sums;
}

template <class Arith, class Isa>
void pack_matrices(const PackArgs& args) {
  Quantized q[kMatrixLines];
  alignas(64) float values[kChunkRows];
  std::int64_t matrices = 0;  // of one tile, in chunks before
  std::int64_t number = 0;
  for (std::int64_t begin = 0, end = 0; begin < args.step_end; begin = end, ++number) {
    const std::int64_t group_begin = begin / args.group_steps * args.group_steps;
    const std::int64_t group_end = group_begin + args.group_steps < args.steps ? group_begin + args.group_steps : args.steps;
    end = begin + Arith::kChunkSteps < group_end ? begin + Arith::kChunkSteps : group_end;
    const std::int64_t count = (end - begin + Arith::kMatrixSteps - 1) / Arith::kMatrixSteps;
    const std::int64_t place = matrices * args.tiles + args.tile * count;
    matrices += count;
    if (begin < args.step_begin) continue;
    for (int row = 0; row < args.rows; ++row) {
      if constexpr (Arith::kQuantizes) {
        if (begin == group_begin) q[row] = quantize_group<Isa>(args, row, begin, group_end, Arith::kChunkSteps, values);
      }
      const bool loaded = Arith::kQuantizes && begin == group_begin && end == group_end;
      if (!loaded) load_steps<Isa>(args, row, begin, end, values);
      prefetch_steps(args, row, end, 2 * end - begin);
      if (Arith::kQuantizes && q[row].inverse == 0.0f) std::memset(values, 0, sizeof values);  // infinities, too
      if constexpr (Arith::kScreens) {
        typename Isa::U found{};
        for (std::int64_t i = 0; i < (end - begin) * kStepRows; i += Isa::kLanes)
          found |= unusual<Arith::kScreenLow, Arith::kScreenHigh>(load<typename Isa::F>(values + i));
        if (largest_lane((typename Isa::I)(found & 1u)) != 0) flag_unusual(args, row);
      }
      std::uint32_t* out = args.out + place * Arith::kParts * kMatrixWords + row * (kMatrixLine / 4);
      const auto sums = pack_lines<Arith, Isa>(values, end - begin, q[row], out);
      if constexpr (Arith::kQuantizes) {
        args.row_scales[number * args.row_stride + row] = q[row].scale;
        int total = 0;
        for (int i = 0; i < Isa::kLanes; ++i) total += sums[i];
        args.row_sums[number * args.row_stride + row] = static_cast<float>(total);  // below 2^24
      }
    }
  }
}

}  // namespace
}  // namespace billfish::cpu
