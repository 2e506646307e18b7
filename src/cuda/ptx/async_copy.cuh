// SPDX-License-Identifier: Apache-2.0
// Copies from global into shared memory that do not wait (sm_80), and loads of data that is read once. Called by sm80/ and repack/.
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

// 16 or 32 bytes that no kernel writes, if `wanted`; else `words` stay as they are. Weights that several warps of a block read go through
// the first-level cache (kShared); the others leave it alone.
template <bool kShared, int kWords>
__device__ inline void load_weights(std::uint32_t (&words)[kWords], const void* source, bool wanted) {
  static_assert(kWords == 4 || kWords == 8);
#pragma unroll
  for (int i = 0; i < kWords; i += 4) {
    const void* from = static_cast<const unsigned char*>(source) + 4 * i;
    if constexpr (kShared) {
      asm volatile("{ .reg .pred p; setp.ne.b32 p, %5, 0; @p ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4]; }"
                   : "+r"(words[i]), "+r"(words[i + 1]), "+r"(words[i + 2]), "+r"(words[i + 3])
                   : "l"(from), "r"(static_cast<int>(wanted)));
    } else {
      asm volatile("{ .reg .pred p; setp.ne.b32 p, %5, 0; @p ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4]; }"
                   : "+r"(words[i]), "+r"(words[i + 1]), "+r"(words[i + 2]), "+r"(words[i + 3])
                   : "l"(from), "r"(static_cast<int>(wanted)));
    }
  }
}

}  // namespace billfish::ptx
