// SPDX-License-Identifier: Apache-2.0
// The tile kernels for any machine, and the choice between the two tables.
#include "pack/tile_loops.hpp"

namespace billfish::pack {

const TileKernels scalar_tile_kernels = kPlainKernels;

const TileKernels& best_tile_kernels() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") ? avx2_tile_kernels : scalar_tile_kernels;
#else
  return scalar_tile_kernels;
#endif
}

}  // namespace billfish::pack
