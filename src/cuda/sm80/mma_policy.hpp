// SPDX-License-Identifier: Apache-2.0
// The shapes that the sm80 kernel is compiled for, and how its plan and its arguments are laid out. Plain C++: plans are made without
// nvcc. Included by mma_plan.cpp, mma_launch.cu, mma_gemm.cuh and tests. docs/kernels/sm80-mma.md has the story.
#pragma once

#include <cstdint>

#include "core/integers.hpp"
#include "gemm/problem.hpp"

namespace billfish::cuda::mma {

// A warp computes 64 columns x (8 * token_tiles) tokens of C. How many warps a block has, and how they share out columns, tokens and K,
// is decided at run time.
struct MmaConfig {
  int token_tiles;  // of 8 tokens
  int max_threads;  // the register budget: 65536 / max_threads
};
constexpr MmaConfig kConfigs[] = {{1, 512}, {2, 512}, {4, 256}};
constexpr int kPolicies = 3;
constexpr const char* kPolicyNames[kPolicies] = {"64x8", "64x16", "64x32"};

// k16 steps whose weights a warp keeps in flight: 4 KB. A run is no shorter.
constexpr int steps_ahead(int bits) { return bits == 4 ? 8 : 4; }
constexpr int ring_bytes_per_warp(int bits) { return steps_ahead(bits) * 128 * bits; }

// Plan::detail
enum Detail { kWarpsK = 0, kRunSteps = 1, kStepsPerSplit = 2, kReduceDependent = 3 };

// Shared memory of a block: the warps' rings of weights and two chunks of activations; later the partial sums of its warps.
constexpr std::int64_t chunk_row_bytes(int warps_k, int run_steps) { return round_up(std::int64_t{2} * warps_k * run_steps, 8) * 16; }
constexpr std::int64_t sums_row_floats(int tile_n) { return tile_n + 4; }  // + 4: a warp's stores fall into distinct banks
constexpr std::int64_t shared_bytes(int bits, int warps, int tile_m, int tile_n, int warps_k, int run_steps) {
  const std::int64_t loop = std::int64_t{warps} * ring_bytes_per_warp(bits) + 2 * tile_m * chunk_row_bytes(warps_k, run_steps);
  const std::int64_t sums = std::int64_t{warps_k} * tile_m * sums_row_floats(tile_n) * std::int64_t{sizeof(float)};
  return loop > sums ? loop : sums;
}
constexpr std::int64_t workspace_bytes(const gemm::Problem& problem, int splits) {
  return splits <= 1 ? 0 : splits * problem.m * round_up(problem.n, 64) * std::int64_t{sizeof(float)};
}

// How K of a batch-invariant product is cut, whatever m and the device are: one split, runs of 8 steps, and 8 k-warps, because few columns
// make few blocks, which are slow at small m; but 4 where columns alone make blocks enough.
constexpr int kBatchInvariantRunSteps = 8;
constexpr int batch_invariant_warps_k(std::int64_t n) { return n < 16384 ? 8 : 4; }

// What a launch passes.
struct MmaArguments {
  const void* a;
  const void* codes;
  const void* scales;
  const std::uint32_t* zeros;
  const std::int32_t* perm;  // null: no gather
  const void* bias;          // null: none
  void* c;
  float* partials;  // [splits, m, padded_n], used if splits > 1
  std::int64_t lda, ldc;
  std::uint32_t code_row_bytes;  // of one k16 step, all columns
  int m, n, k;
  int padded_n;
  int steps;            // k16 steps in K
  int group_steps;      // in a group; one group: `steps`
  int steps_per_split;  // a multiple of what a block takes at a time
  int splits;
  int tile_m, tile_n;
  int warps_k;
  int run_steps;  // consecutive steps of one warp
  int row_bytes;  // of a chunk of activations in shared memory
  bool per_column;
  bool scale_bf16, bias_bf16, bias_f32, bias_permuted;
  bool c_bf16, c_f32;
  bool vector_a, vector_c;  // 16-byte accesses are allowed
};

}  // namespace billfish::cuda::mma
