// SPDX-License-Identifier: Apache-2.0
// How quantising's kernels are cut into blocks. Included by elements.cuh, panels.cuh and what launches them.
#pragma once

#include <cstdint>

#include "core/integers.hpp"

namespace billfish::cuda::quantizing {

constexpr int kThreads = 256;
constexpr int kTile = 32;  // of a matrix that is turned in shared memory: kTile x kTileRows threads
constexpr int kTileRows = 8;

__device__ inline std::int64_t thread_index() { return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

inline unsigned blocks_for(std::int64_t count, std::int64_t of) { return static_cast<unsigned>(ceil_div(count, of)); }

}  // namespace billfish::cuda::quantizing
