// SPDX-License-Identifier: Apache-2.0
// A small model of the machine: how long a plan of the wgmma kernel takes. Pure functions; their numbers are measurements.
#pragma once

#include "cuda/sm90/shares_plan.hpp"
#include "gemm/problem.hpp"

namespace billfish::cuda::wgmma {

// A problem as a variant cuts it.
struct Tiling {
  std::int64_t tiles, stages;  // stages of each tile
  std::int64_t along_m;        // tiles that need the same weights, which memory is asked for once
  double part;                 // of a stage as it is listed that one is: half, where 8-bit codes make it half as long along K
};

// Microseconds, if every tile has a cluster of `splits` blocks; 1: persistent blocks.
double cluster_time(const gemm::DeviceFacts&, int policy, const Tiling& tiling, int splits);
// If so many blocks (abreast: clusters of them) share the tiles that do not make whole rounds.
double shared_time(const gemm::DeviceFacts&, int policy, const Tiling& tiling, std::int64_t blocks);

}  // namespace billfish::cuda::wgmma
