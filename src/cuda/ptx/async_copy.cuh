// SPDX-License-Identifier: Apache-2.0
// Copies from global into shared memory that do not wait (sm_80). Called by sm80/.
#pragma once

#include <cstdint>

namespace billfish::ptx {

// 16 bytes, of which the first `valid` come from `source` and the rest are zeros. Both addresses are aligned to 16.
__device__ inline void async_copy_16_zero_fill(std::uint32_t target, const void* source, int valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(valid) : "memory");
}
__device__ inline void async_copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ void async_copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ inline void async_copy_16(std::uint32_t target, const void* source) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(target), "l"(source) : "memory");
}

__device__ inline void load_shared_16(std::uint32_t* words, std::uint32_t source) {
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(source)
               : "memory");
}

}  // namespace billfish::ptx
