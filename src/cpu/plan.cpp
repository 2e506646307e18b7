// SPDX-License-Identifier: Apache-2.0
// See plan.hpp.
#include "cpu/plan.hpp"

#include <algorithm>

#include "core/integers.hpp"
#include "cpu/cpu.hpp"

namespace billfish::cpu {
namespace {

// Between the memory that one thread writes and the next one's: prefetchers run on past the end, and take lines from each other. Two
// threads on one chiplet lose 1 to 3 % by it; on two (Zen 5, int8, M = 16, 4096 x 4096, 2026-11-23) a product took 458 us with nothing
// between, 376 with 32 KB or more.
constexpr std::int64_t kSlotGap = 32768;

// AMX: up to so many rows the streams of AVX-512 are the faster ones (docs/kernels/cpu-amx.md).
constexpr std::int64_t rows_without_matrices(Precision precision) { return precision == Precision::int8 ? 8 : 2; }

std::int64_t chunk_count(std::int64_t steps, std::int64_t group_steps, std::int64_t chunk_steps) {
  if (steps == 0) return 0;
  return steps / group_steps * ceil_div(group_steps, chunk_steps) + ceil_div(steps % group_steps, chunk_steps);
}

// Steps of all chunks when each of them fills its last matrix.
std::int64_t matrix_steps(std::int64_t steps, std::int64_t group_steps, const Kernels& kernels) {
  const auto of_group = [&](std::int64_t group) {
    const std::int64_t whole = group / kernels.chunk_steps * kernels.chunk_steps;
    return whole + round_up(group - whole, kernels.matrix_steps);
  };
  return steps / group_steps * of_group(group_steps) + of_group(steps % group_steps);
}

}  // namespace

std::int64_t group_steps_of(const gemm::Problem& p) {
  return p.group >= p.k ? std::max<std::int64_t>(1, ceil_div(p.k, kStepRows)) : p.group / kStepRows;
}

const Arithmetic* amx_arithmetic() {
  static const auto joined = join_arithmetics(kAmxOwnArithmetic, kAvx512Arithmetic);
  return joined.data();
}

int arithmetic_index(const gemm::Problem& p, const gemm::DeviceFacts& facts, const Arithmetic* table) {
  if (table == amx_arithmetic()) {
    const bool few = p.m <= rows_without_matrices(p.precision) && !p.batch_invariant;
    // One row that cannot be split sends all of a call elsewhere, so that rows would depend on each other.
    const bool split = p.precision == Precision::full && p.a != ElementType::bf16;
    if (few || (split && p.batch_invariant)) return kAmxArithmetics + arithmetic_index(p, facts, kAvx512Arithmetic);
    return static_cast<int>(p.precision == Precision::full && p.a == ElementType::bf16 ? Precision::bf16 : p.precision);
  }
  constexpr int kOther = 3, kFullWithoutDots = 4, kInt8WithoutDots = 5, kSubnormals = 4, kWideBf16 = 6;
  const bool dots = table == kAvx512Arithmetic;
  const bool bf16 = p.precision == Precision::bf16 || (p.precision == Precision::full && p.a == ElementType::bf16);
  if (dots && facts.slow_bf16_dot) return p.precision == Precision::int8 ? kInt8WithoutDots : bf16 ? kOther : kFullWithoutDots;
  if (p.precision == Precision::int8 && bits_of(p.weight) == 8 && !dots) return kOther;
  if (dots && bf16 && bits_of(p.weight) == 8) return kWideBf16;
  const int index = static_cast<int>(bf16 ? Precision::bf16 : p.precision);
  return table == kAvx2Arithmetic && p.precision != Precision::int8 && fast_subnormals() ? kSubnormals + index : index;
}

Workspace cut(const gemm::Problem& p, const Kernels& kernels, int rows, int slots) {
  Workspace w;
  const std::int64_t steps = ceil_div(p.k, kStepRows);
  const std::int64_t blocks = std::max<std::int64_t>(1, ceil_div(p.n, kBlockColumns));  // N = 0 is a product with nothing to do
  w.rows = rows;
  w.tiles = static_cast<int>(ceil_div(rows, kernels.tile_rows));
  // Two items a slot at least, and as many for every slot.
  std::int64_t items = round_up(std::max<std::int64_t>(ceil_div(blocks, std::int64_t{kernels.blocks}), 2 * slots), slots);
  // Not whole pages side by side: with a power of two columns all that is under way would be in a few sets of the caches, and two threads
  // in step (Zen 5, 2026-11-23, 4096 columns in 11 blocks instead of 16: 0.80 to 0.87 of the time at M = 8, 0.96 at M = 4 and 16).
  if (kernels.odd_blocks && rows > 1 && ceil_div(blocks, items) % 8 == 0) items += slots;
  w.items = std::min(items, blocks);
  w.stream_blocks = static_cast<int>(ceil_div(blocks, w.items));
  w.row_parts = kernels.row_block == 0 ? 1 : static_cast<int>(std::clamp<std::int64_t>(2 * slots / blocks, 1, w.tiles));
  w.slots = slots;
  w.chunks = chunk_count(steps, group_steps_of(p), kernels.chunk_steps);
  const int repeat = kernels.repeats ? bits_of(p.weight) : 1;
  const std::int64_t packed_steps = kernels.matrix_steps > 0 ? matrix_steps(steps, group_steps_of(p), kernels) : steps;
  const std::int64_t packed_rows = kernels.matrix_steps > 0 ? w.tiles * kernels.tile_rows : rows;
  std::int64_t at = round_up(packed_rows * packed_steps * kernels.words_a_row_step * repeat * 4, 64);
  const auto take = [&at](bool needed, std::int64_t bytes) {
    const std::int64_t begin = at;
    if (needed) at += round_up(bytes, 64);
    return begin;
  };
  w.row_scales = take(kernels.quantizes, w.chunks * rows * 4);
  w.row_sums = take(kernels.sums_rows, w.chunks * rows * 4);
  w.begins = take(kernels.begin_words > 0, w.chunks * kChunkPartials * rows * kernels.begin_words * 4);
  w.unusual = take(kernels.screens, rows);
  at = round_up(at + kSlotGap, 4096);
  w.slot = at;
  w.panel_bytes = kernels.panel_words * 4;
  w.slot_bytes = round_up(w.panel_bytes + static_cast<std::int64_t>(w.stream_blocks) * rows * kBlockColumns * 4 + kSlotGap, 4096);
  w.bytes = at + slots * w.slot_bytes + 63;
  return w;
}

std::array<const Kernels*, 3> kernels_in_turn(const Arithmetic& arithmetic, bool stream) {
  // Where there is a rest, streams and tiles screen alike.
  const bool tile = !stream || arithmetic.rest == nullptr;
  return {stream ? &arithmetic.stream : nullptr, tile ? &arithmetic.tile : nullptr, arithmetic.rest};
}

namespace {

// For the first kernels that are asked, with room for those that take what they cannot.
Workspace cut_for_all(const gemm::Problem& p, const Arithmetic& arithmetic, bool stream, int rows, int slots) {
  Workspace first = cut(p, stream ? arithmetic.stream : arithmetic.tile, rows, slots);
  for (const Kernels* kernels : kernels_in_turn(arithmetic, stream)) {
    if (kernels != nullptr) first.bytes = std::max(first.bytes, cut(p, *kernels, rows, slots).bytes);
  }
  first.stream = stream;
  return first;
}

}  // namespace

Workspace choose_workspace(const gemm::Problem& p, const Arithmetic& arithmetic) {
  const bool stream = p.m <= arithmetic.stream_rows && !p.batch_invariant;  // see kernel/stream.hpp
  const std::int64_t m = std::max<std::int64_t>(p.m, 1);
  int rows = static_cast<int>(stream ? m : std::min<std::int64_t>(m, arithmetic.tile.row_block));
  // Row blocks of equal size, so that the last is not a sliver.
  if (!stream) rows = static_cast<int>(ceil_div(m, ceil_div(m, rows)));
  int slots = std::max(p.threads, 1);
  Workspace w = cut_for_all(p, arithmetic, stream, rows, slots);
  while (p.workspace_bytes >= 0 && w.bytes > p.workspace_bytes && (slots > 1 || rows > 1)) {
    if (slots > 1) {
      slots = (slots + 1) / 2;
    } else {
      rows = (rows + 1) / 2;
    }
    w = cut_for_all(p, arithmetic, stream, rows, slots);
  }
  return w;
}

}  // namespace billfish::cpu
