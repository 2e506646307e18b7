// SPDX-License-Identifier: Apache-2.0
// mbarrier: a counter in shared memory that completes a phase when its arrivals and its announced bytes are all in.
// Addresses are 32-bit shared-memory addresses (ptx::shared_address).
#pragma once

#include <cstdint>

namespace billfish::ptx {

inline __device__ std::uint32_t shared_address(const void* p) { return static_cast<std::uint32_t>(__cvta_generic_to_shared(p)); }

inline __device__ void mbarrier_init(std::uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Makes the inits visible to the copy engine and to the other blocks of the cluster.
inline __device__ void fence_mbarrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

inline __device__ void mbarrier_expect(std::uint32_t barrier, int bytes) {  // and arrive once
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// Between what a thread does with shared memory and what the copy engine does with it next, behind a barrier: it reads what was written, or
// writes where was read (an arrival alone may overtake the loads: seen on an H200, what was read was the next copy's).
inline __device__ void fence_before_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// A predicated instruction, not a branch: a branch between wgmmas makes ptxas serialise them.
inline __device__ void mbarrier_arrive_if(std::uint32_t barrier, bool condition) {
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %1, 0; @p mbarrier.arrive.shared::cta.b64 _, [%0]; }" ::"r"(barrier),
               "r"(static_cast<int>(condition))
               : "memory");
}
// On a barrier of any block of the cluster (map_shared). For "I have read": with .release.cluster, which orders writes too, ptxas puts a
// barrier of the whole GPU (MEMBAR.ALL.GPU) before every arrival.
inline __device__ void mbarrier_arrive_cluster_if(std::uint32_t barrier, bool condition) {
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %1, 0; @p mbarrier.arrive.shared::cluster.b64 _, [%0]; }" ::"r"(barrier),
               "r"(static_cast<int>(condition))
               : "memory");
}
// Arrives when this thread's earlier cp.async copies have landed; the barrier's count must include it.
inline __device__ void mbarrier_arrive_after_async_copies(std::uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
// Whether the phase is complete, without waiting for it.
inline __device__ bool mbarrier_is_complete(std::uint32_t barrier, int parity) {
  int is_complete;
  asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p; }"
               : "=r"(is_complete)
               : "r"(barrier), "r"(parity)
               : "memory");
  return is_complete != 0;
}
inline __device__ void mbarrier_wait(std::uint32_t barrier, int parity) {
  asm volatile(
      "{ .reg .pred p;\n"
      "wait_%=: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1, 0x989680;\n"
      "@p bra done_%=; bra wait_%=;\n"
      "done_%=: }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// No mbarrier: a barrier of `threads` threads; id 0 is __syncthreads.
inline __device__ void named_barrier(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

}  // namespace billfish::ptx
