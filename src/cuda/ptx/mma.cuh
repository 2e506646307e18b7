// SPDX-License-Identifier: Apache-2.0
// mma.m16n8k16 with f32 accumulators, and ldmatrix, which fetches its B operand. sm_80 and later. Called by sm80/.
#pragma once

#include <cstdint>

namespace billfish::ptx {

// d += a x b: a 16 (n) x 16 (k), b 16 (k) x 8 (tokens). A lane's d: columns lane / 4 (d[0], d[1]) and + 8 (d[2], d[3]); tokens
// lane % 4 * 2 and + 1.
template <bool kBf16>
__device__ inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  if constexpr (kBf16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// Four 8 x 8 matrices of 16-bit elements; lane i brings the shared-memory address of row i % 8 of matrix i / 8. A lane receives, of each
// matrix, elements lane % 4 * 2 and + 1 of row lane / 4.
__device__ inline void load_matrices(std::uint32_t (&r)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

}  // namespace billfish::ptx
