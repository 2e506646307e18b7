// SPDX-License-Identifier: Apache-2.0
// A small model of the machine: how long a plan of the wgmma kernel takes. Pure functions; their numbers are measurements.
#pragma once

#include "cuda/sm90/shares_plan.hpp"
#include "gemm/problem.hpp"

namespace billfish::cuda::wgmma {

// Microseconds, if every tile has a cluster of `splits` blocks; 1: persistent blocks.
double cluster_time(const gemm::DeviceFacts&, int policy, std::int64_t tiles, std::int64_t stages, int splits);
// If so many blocks (abreast: clusters of them) share the tiles that do not make whole rounds.
double shared_time(const gemm::DeviceFacts&, int policy, const ShareWork& work, std::int64_t blocks);

}  // namespace billfish::cuda::wgmma
