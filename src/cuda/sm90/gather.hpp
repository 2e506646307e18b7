// SPDX-License-Identifier: Apache-2.0
// Activations that the sm90 kernels cannot read as they lie, because of an activation order or of their alignment, are copied to the
// workspace first: rows in packed order, 16 bytes aligned. Many rows only: a few are sooner multiplied by sm80, which gathers as it loads.
#pragma once

#include "core/integers.hpp"
#include "core/status.hpp"
#include "gemm/problem.hpp"

namespace billfish::cuda::gather {

constexpr std::int64_t kFewRows = 16;

inline bool is_needed(const gemm::Problem& p) { return p.act_order || !p.aligned_a; }
inline std::int64_t row_elements(const gemm::Problem& p) { return round_up(p.k, 8); }
inline std::int64_t bytes(const gemm::Problem& p) { return p.m * row_elements(p) * 2; }

// Copies call.a to `target`.
Status run(const gemm::Problem& problem, const gemm::Call& call, void* target, bool dependent_launch);
Status prepare(int device_index);

}  // namespace billfish::cuda::gather
