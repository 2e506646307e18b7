// SPDX-License-Identifier: Apache-2.0
// Blocks of a cluster reach each other's shared memory; the warpgroups of a block can trade registers.
#pragma once

#include <cstdint>

namespace billfish::ptx {

inline __device__ std::uint32_t cluster_rank() {
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// The address, in the shared memory of block `rank`, that `address` has in this block's.
inline __device__ std::uint32_t map_shared(std::uint32_t address, std::uint32_t rank) {
  std::uint32_t mapped;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(address), "r"(rank));
  return mapped;
}
// Says that this block has come, not that what it wrote can be seen: barriers that others are to find initialised have their own fence
// (fence_mbarrier_init). With .release ptxas puts a barrier of the whole GPU (MEMBAR.ALL.GPU) before every warp's arrival.
inline __device__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
inline __device__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// Two floats into the shared memory of a block of the cluster; its mbarrier counts the 8 bytes. An illegal instruction where the cluster
// is a single block.
inline __device__ void store_async(std::uint32_t target, float x, float y, std::uint32_t barrier) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(target),
               "r"(__float_as_uint(x)), "r"(__float_as_uint(y)), "r"(barrier)
               : "memory");
}

// Moves registers between the warpgroups of a block: all warps of a warpgroup call it.
template <int kRegisters>
__device__ void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ void claim_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace billfish::ptx
