// SPDX-License-Identifier: Apache-2.0
// Words of one lane from shared memory, in the widest loads there are.
#pragma once

#include <cstdint>

namespace billfish::ptx {

// `address` is aligned to the words' bytes, up to 16.
template <int kWords>
__device__ void load_shared(std::uint32_t (&words)[kWords], std::uint32_t address) {
  if constexpr (kWords == 1) {
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(words[0]) : "r"(address));
  } else if constexpr (kWords == 2) {
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(words[0]), "=r"(words[1]) : "r"(address));
  } else {
#pragma unroll
    for (int i = 0; i < kWords; i += 4) {
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(words[i]), "=r"(words[i + 1]), "=r"(words[i + 2]), "=r"(words[i + 3])
                   : "r"(address + i * 4));
    }
  }
}

// Where `wanted`, else the words stay as they are: a predicated instruction, no branch.
template <int kWords>
__device__ void load_shared_if(bool wanted, std::uint32_t (&words)[kWords], std::uint32_t address) {
  if constexpr (kWords == 1) {
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %2, 0; @p ld.shared.b32 %0, [%1]; }"
                 : "+r"(words[0])
                 : "r"(address), "r"(static_cast<int>(wanted)));
  } else {
    static_assert(kWords == 2);
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %3, 0; @p ld.shared.v2.b32 {%0, %1}, [%2]; }"
                 : "+r"(words[0]), "+r"(words[1])
                 : "r"(address), "r"(static_cast<int>(wanted)));
  }
}

}  // namespace billfish::ptx
