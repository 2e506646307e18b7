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

// k16 steps whose weights a lane keeps in flight; a run is a multiple of it. 16 or 32 registers.
constexpr int steps_ahead(int policy, int bits) { return policy == 0 ? (bits == 4 ? 8 : 4) : bits == 4 ? 4 : 2; }

// Plan::detail
enum Detail { kWarpsK = 0, kRunSteps = 1, kStepsPerSplit = 2, kReduceDependent = 3 };

// Shared memory of a block: two chunks of activations, later the partial sums of its warps.
constexpr std::int64_t chunk_row_bytes(int warps_k, int run_steps) { return round_up(std::int64_t{2} * warps_k * run_steps, 8) * 16; }
constexpr std::int64_t sums_row_floats(int tile_n) { return tile_n + 4; }  // + 4: a warp's stores fall into distinct banks
constexpr std::int64_t shared_bytes(int tile_m, int tile_n, int warps_k, int run_steps) {
  const std::int64_t chunks = 2 * tile_m * chunk_row_bytes(warps_k, run_steps);
  const std::int64_t sums = warps_k * tile_m * sums_row_floats(tile_n) * std::int64_t{sizeof(float)};
  return chunks > sums ? chunks : sums;
}
constexpr std::int64_t workspace_bytes(const gemm::Problem& problem, int splits) {
  return splits <= 1 ? 0 : splits * problem.m * round_up(problem.n, 64) * std::int64_t{sizeof(float)};
}

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
  std::int64_t code_row_bytes;  // of one k16 step, all columns
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
