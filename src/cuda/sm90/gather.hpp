// SPDX-License-Identifier: Apache-2.0
// Activations that the sm90 kernels cannot read as they lie, because of an activation order or of their alignment, are copied to the
// workspace first: rows in packed order, 16 bytes aligned. A few short rows are not: sm80 has sooner multiplied them, which gathers as it
// loads them.
#pragma once

#include "core/integers.hpp"
#include "core/status.hpp"
#include "gemm/problem.hpp"

namespace billfish::cuda::gather {

inline bool is_needed(const gemm::Problem& p) { return p.act_order || !p.aligned_a; }

// Whether it is faster to copy than to gather; dependent launches on an H200, 2026-11-21. With a workspace of zeros, in which sm80 does not
// split K, it takes 2 us and 4 more for every 1000 k (30 random problems, rows of an odd K, M = 2 to 14: 3.5 us at K = 238, 10 at 1963,
// 40 at 9986); a copy should take 2 us and the streaming kernel 2 to 5. Where it does split there is one case: 11008 x 4096 with an
// activation order took 24.8 us at M = 16 without a copy and 16.1 at M = 32 with one. If a row's bits must not depend on m, there is no
// choice.
inline bool pays(const gemm::Problem& p) {
  constexpr std::int64_t kFewRows = 16, kVeryFewRows = 4;
  if (p.m > kFewRows || p.batch_invariant) return true;
  if (!p.zeroed_workspace) return p.k >= 4096;
  return p.k >= (p.m > kVeryFewRows ? 256 : 512);
}
inline std::int64_t row_elements(const gemm::Problem& p) { return round_up(p.k, 8); }
// Only of sizes that the family takes, 2^30 at most: of others it may be more than 64 bits count.
inline std::int64_t bytes(const gemm::Problem& p) { return p.m * row_elements(p) * 2; }

// Copies call.a to `target`.
Status run(const gemm::Problem& problem, const gemm::Call& call, void* target, bool dependent_launch);
Status prepare(int device_index);

}  // namespace billfish::cuda::gather
