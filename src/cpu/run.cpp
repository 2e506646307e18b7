// SPDX-License-Identifier: Apache-2.0
// See run.hpp. Work is cut by columns (and, for many rows, by rows), never along K, so any number of threads gives the same bits.
//
//   for each row block of A:  pack its tiles (in parallel where that pays)  ->  slots take blocks of columns until none are left
#include "cpu/run.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>

#include "core/integers.hpp"
#include "cpu/cpu.hpp"
#include "cpu/exact.hpp"
#include "cpu/plan.hpp"

namespace billfish::cpu {
namespace {

// Below this many activations one thread packs them faster than two threads can be told to.
constexpr std::int64_t kPackAlone = 32768;

constexpr std::int64_t kPageBytes = 4096;

struct Job {
  const Kernels& kernels;
  const Workspace& space;
  const gemm::Problem& problem;
  const gemm::Call& call;
  char* memory;  // aligned
  Weights weights;
  std::int64_t row0 = 0;
  int rows = 0, tiles = 0;

  template <class T>
  T* at(std::int64_t offset) const {
    return reinterpret_cast<T*>(memory + offset);
  }
};

// Steps [begin, end) of one tile of the row block.
void pack_tile(const Job& job, int tile, std::int64_t begin, std::int64_t end) {
  const Workspace& space = job.space;
  const TileCut cut(job.rows, job.tiles);
  const int row = cut.begin(tile);
  const bool wide = bits_of(job.problem.weight) == 8;
  PackArgs args;
  args.a_type = job.problem.a;
  args.a = static_cast<const char*>(job.call.a) + (job.row0 + row) * job.call.lda * bytes_of(args.a_type);
  args.lda = job.call.lda;
  args.k = job.problem.k;
  args.perm = job.call.weights->perm;
  args.first_row = row;
  args.tile = tile;
  args.tiles = job.tiles;
  args.rows = cut.rows(tile);
  args.all_rows = job.rows;
  args.steps = job.weights.steps;
  args.group_steps = job.weights.group_steps;
  args.step_begin = begin;
  args.step_end = end;
  args.implicit_zero = implicit_zero(job.problem.weight);
  args.out = job.at<std::uint32_t>(space.a);
  args.row_scales = job.at<float>(space.row_scales) + row;
  args.row_sums = job.at<float>(space.row_sums) + row;
  args.begins = job.at<std::uint32_t>(space.begins) + row * job.kernels.begin_words;
  args.row_stride = space.rows;
  args.unusual = job.at<std::uint8_t>(space.unusual) + row;
  job.kernels.pack[wide ? 1 : 0](args);
}

// By tiles, and along K where there are few: rows of one tile share lines of cache.
void pack_all_rows(const Job& job) {
  const Weights& w = job.weights;
  std::uint8_t* const flags = job.at<std::uint8_t>(job.space.unusual);
  if (job.kernels.screens) std::fill(flags, flags + job.rows, std::uint8_t{0});
  const bool alone = job.rows * job.problem.k < kPackAlone;
  // Whole groups, which have one scale for their activations, or chunks of a single group where nothing is quantised.
  const std::int64_t whole = !job.kernels.quantizes && w.group_steps >= w.steps ? job.kernels.chunk_steps : w.group_steps;
  const std::int64_t stretches = std::max<std::int64_t>(ceil_div(w.steps, whole), 1);
  // So many parts that every thread gets the same number; of many tiles one more or less does not matter.
  const std::int64_t slots = job.space.slots, even = job.tiles < 4 * slots ? slots / std::gcd(slots, std::int64_t{job.tiles}) : 1;
  const std::int64_t parts = alone ? 1 : std::min(even, stretches);
  auto pack = [&](std::int64_t item) {
    const std::int64_t part = item % parts;
    const std::int64_t begin = part * stretches / parts * whole, end = (part + 1) * stretches / parts * whole;
    pack_tile(job, static_cast<int>(item / parts), begin, std::min(end, w.steps));
  };
  if (!alone) return job.call.parallel.run(job.tiles * parts, pack);
  for (int tile = 0; tile < job.tiles; ++tile) pack(tile);
}

// Of item `item`: items differ by one block at most, the longer ones first.
std::int64_t first_block(const Job& job, std::int64_t item) {
  const std::int64_t blocks = ceil_div(job.problem.n, kBlockColumns);
  return blocks / job.space.items * item + std::min(blocks % job.space.items, item);
}

// `number` counts items, or parts of rows within items.
void multiply_item(const Job& job, int slot, std::int64_t number, ReadyPanel& ready) {
  const Workspace& space = job.space;
  char* const mine = job.memory + space.slot + slot * space.slot_bytes;
  const int parts = std::min(space.row_parts, job.tiles);
  const std::int64_t item = number / parts, block = first_block(job, item);
  const int part = static_cast<int>(number % parts);
  const std::int64_t column = block * kBlockColumns;
  BlockArgs args;
  args.weights = job.weights;
  args.block = block;
  args.blocks = static_cast<int>(first_block(job, item + 1) - block);
  args.next_block = item + space.slots < space.items ? first_block(job, item + space.slots) : block;
  args.ahead = codes_ahead(job.rows, job.weights.row_words * 4 % kPageBytes == 0);
  args.rows = job.rows;
  args.tiles = job.tiles;
  args.tile_begin = part * job.tiles / parts;
  args.tile_end = (part + 1) * job.tiles / parts;
  args.a = job.at<std::uint32_t>(space.a);
  args.row_scales = job.at<float>(space.row_scales);
  args.row_sums = job.at<float>(space.row_sums);
  args.begins = job.at<std::uint32_t>(space.begins);
  args.row_stride = space.rows;
  args.panel = reinterpret_cast<std::uint32_t*>(mine);
  args.ready = &ready;
  args.sums = reinterpret_cast<float*>(mine + space.panel_bytes);
  args.columns = std::min<std::int64_t>(args.blocks * kBlockColumns, job.problem.n - column);
  alignas(64) float bias[kStreamBlocks * kBlockColumns] = {};
  if (job.call.bias) {
    for (std::int64_t i = 0; i < args.columns; ++i) bias[i] = bias_at(*job.call.weights, column + i);
    args.bias = bias;
  }
  args.c_type = job.problem.c;
  args.ldc = job.call.ldc;
  const TileCut cut(job.rows, job.tiles);
  const int first = cut.begin(args.tile_begin), last = cut.begin(args.tile_end);
  args.c = static_cast<char*>(job.call.c) + ((job.row0 + first) * args.ldc + column) * bytes_of(args.c_type);
  const int type = static_cast<int>(job.problem.weight);
  const bool finite = job.kernels.block[type](args);
  if (!finite) multiply_exactly(job.problem, job.call, job.row0 + first, job.row0 + last, column, column + args.columns);
  if (job.kernels.quantizes) {
    const std::uint8_t* flags = job.at<std::uint8_t>(space.unusual);
    for (int row = first; row < last; ++row) {
      if (flags[row] != 0) {
        multiply_exactly(job.problem, job.call, job.row0 + row, job.row0 + row + 1, column, column + args.columns);
      }
    }
  }
}

bool any_unusual(const Job& job) {
  const std::uint8_t* flags = job.at<std::uint8_t>(job.space.unusual);
  return std::any_of(flags, flags + job.rows, [](std::uint8_t flag) { return flag != 0; });
}

// All rows with one kind of kernels; false if the activations must go through the next kind.
bool multiply_rows(Job& job, int rows) {
  const Workspace& space = job.space;
  for (job.row0 = 0; job.row0 < job.problem.m; job.row0 += job.rows) {
    job.rows = static_cast<int>(std::min<std::int64_t>(rows, job.problem.m - job.row0));
    job.tiles = static_cast<int>(ceil_div(job.rows, job.kernels.tile_rows));
    pack_all_rows(job);
    if (job.kernels.screens && !job.kernels.quantizes && any_unusual(job)) return false;
    const std::int64_t items = job.problem.n > 0 ? space.items * std::min(space.row_parts, job.tiles) : 0;
    std::atomic<std::int64_t> next{0};
    job.call.parallel.run(std::min<std::int64_t>(space.slots, items), [&](std::int64_t slot) {
      ReadyPanel ready;
      for (std::int64_t item = next.fetch_add(1); item < items; item = next.fetch_add(1)) {
        multiply_item(job, static_cast<int>(slot), item, ready);
      }
    });
  }
  return true;
}

Weights weights_of(const PackedMatrix& packed, const gemm::Problem& problem) {
  Weights w;
  w.codes = packed.codes;
  w.row_words = packed.padded_n() * bits_of(packed.type) / 2;
  w.zeros = packed.zeros;
  w.zero_row_words = packed.padded_n() * bits_of(packed.type) / 32;
  w.scales = packed.scales;
  w.scale_row = packed.padded_n();
  w.scale_type = packed.scale_type;
  w.per_column = packed.per_column();
  w.steps = ceil_div(problem.k, kStepRows);
  w.group_steps = group_steps_of(problem);
  return w;
}

}  // namespace

Status multiply(const Arithmetic* table, const gemm::Plan& plan, const gemm::Problem& problem, const gemm::Call& call) {
  const bool stream = plan.detail[0] != 0;
  const Arithmetic& arithmetic = table[plan.policy];
  const int rows = static_cast<int>(plan.detail[1]);
  const int slots = static_cast<int>(plan.detail[2]);
  if (call.workspace == nullptr || call.workspace_bytes < plan.workspace_bytes) {
    return {Code::workspace_too_small, "workspace is " + std::to_string(call.workspace == nullptr ? 0 : call.workspace_bytes) +
                                           " bytes; this plan needs " + std::to_string(plan.workspace_bytes)};
  }
  char* const memory = reinterpret_cast<char*>(round_up(reinterpret_cast<std::intptr_t>(call.workspace), 64));
  const Weights weights = weights_of(*call.weights, problem);
  for (const Kernels* kernels : kernels_in_turn(arithmetic, stream)) {
    if (kernels == nullptr) continue;
    const Workspace space = cut(problem, *kernels, rows, slots);
    Job job{*kernels, space, problem, call, memory, weights};
    if (multiply_rows(job, rows)) break;
  }
  return {};
}

}  // namespace billfish::cpu
