// SPDX-License-Identifier: Apache-2.0
// problem -> plan -> launch: the three plain structs that a call goes through. A problem has no pointers, so that plans can be
// chosen, printed and tested for machines that are not here.
#pragma once

#include <cstdint>

#include "core/matrix.hpp"
#include "core/threads.hpp"
#include "core/types.hpp"

namespace billfish::gemm {

struct Problem {
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t group = 0;  // resolved: 1 <= group <= k
  WeightType weight = WeightType::u4b8;
  ElementType a = ElementType::f16, c = ElementType::f16, scale = ElementType::f16;
  Precision precision = Precision::full;
  bool act_order = false;      // A is gathered by perm
  bool uneven_groups = false;  // g_idx is given: groups are not k' / group
  bool bias = false;
  bool wide_scales = false;  // scale must stay on the f32 accumulator
  bool batch_invariant = false;
  bool dependent_launch = false;
  bool zeroed_workspace = false;      // the workspace was set to zeros once, and only calls that say so have used it since
  bool aligned_a = true;              // A and lda allow 16-byte loads
  bool aligned_c = true;              // C and ldc allow 16-byte stores
  int threads = 1;                    // CPU
  std::int64_t workspace_bytes = -1;  // what the caller brings; -1: as much as the plan likes

  MatrixShape shape() const { return {weight, scale, n, k, group}; }
  bool operator==(const Problem&) const = default;
};

// What a plan needs to know of a device; filled by cpu:: and cuda:: for those that are here, by hand for those that are not.
struct DeviceFacts {
  DeviceKind kind = DeviceKind::cpu;
  // CUDA
  int architecture = 0;  // 80, 90, ...
  int multiprocessors = 0;
  std::int64_t shared_bytes_per_block = 0;
  // CPU
  bool avx2 = false, avx512 = false, avx512_vnni = false, avx512_bf16 = false;
  bool amx = false;            // registers of matrices, bf16 and int8, and the system's permission to use them
  bool slow_bf16_dot = false;  // bf16 dots do fewer operations a second than f32 multiply-adds (Intel)
  bool operator==(const DeviceFacts&) const = default;
};

struct Implementation;

// The configuration an implementation chose. One struct for all, printed by `explain`; what does not apply is 0.
struct Plan {
  const Implementation* implementation = nullptr;
  int policy = 0;  // which compiled variant
  const char* policy_name = "";
  int tile_m = 0, tile_n = 0, tile_k = 0;
  int stages = 0;
  int splits = 1;  // parts of K
  int cluster = 1;
  int threads = 0;          // per block, or CPU threads
  std::int64_t blocks = 0;  // grid, or CPU tasks
  std::int64_t shared_bytes = 0;
  std::int64_t workspace_bytes = 0;
  std::int64_t gather_offset = -1;  // in the workspace: A is copied there first, in packed order and aligned; -1: it is not
  bool dependent_launch = false;
  std::int64_t chain = 0;           // most products and partial sums that one f32 accumulator takes in, one after the other, counting
                                    // both halves of a split activation; 0: not said, the error bound assumes the worst
  bool splits_activations = false;  // f32 activations enter as a sum of two bf16
  bool zeros_after_sum = false;     // zeros may be subtracted after the sum, times the sum of activations
  std::int64_t detail[4] = {};      // the implementation's own; named by its print function
  bool operator==(const Plan&) const = default;
};

// One product with its pointers.
struct Call {
  const PackedMatrix* weights = nullptr;
  std::int64_t m = 0;
  const void* a = nullptr;
  std::int64_t lda = 0;
  void* c = nullptr;
  std::int64_t ldc = 0;
  bool bias = false;  // add weights->bias
  void* workspace = nullptr;
  std::int64_t workspace_bytes = 0;
  void* stream = nullptr;  // CUDA
  Parallel parallel;       // CPU
};

}  // namespace billfish::gemm
