// SPDX-License-Identifier: Apache-2.0
// Activations that the sm90 kernels cannot read as they lie, because of an activation order or of their alignment, are copied to the
// workspace first: rows in packed order, 16 bytes aligned. A few short rows are not: they are sooner multiplied by sm80, which gathers as it
// loads them.
#pragma once

#include "core/integers.hpp"
#include "core/status.hpp"
#include "gemm/problem.hpp"

namespace billfish::cuda::gather {

inline bool is_needed(const gemm::Problem& p) { return p.act_order || !p.aligned_a; }

// Whether it is faster to copy than to gather. Up to 16 rows sm80 spends 3.5 to 4 us on every 1000 k with a workspace of zeros, in which it
// cannot split K (30 random problems with rows of an odd K, M = 2 to 14, dependent launches, H200, 2026-11-21), on top of the 2.5 us that
// any launch takes, and a third of that where it splits; a copy takes 2 us. With a row's bits the same for every m, one way for all.
inline bool pays(const gemm::Problem& p) {
  constexpr std::int64_t kFewRows = 16, kVeryFewRows = 4;
  if (p.m > kFewRows || p.batch_invariant) return true;
  if (!p.zeroed_workspace) return p.k >= 4096;
  return p.k >= (p.m > kVeryFewRows ? 256 : 512);
}
inline std::int64_t row_elements(const gemm::Problem& p) { return round_up(p.k, 8); }
inline std::int64_t bytes(const gemm::Problem& p) { return p.m * row_elements(p) * 2; }

// Copies call.a to `target`.
Status run(const gemm::Problem& problem, const gemm::Call& call, void* target, bool dependent_launch);
Status prepare(int device_index);

}  // namespace billfish::cuda::gather
