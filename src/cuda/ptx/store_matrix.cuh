// SPDX-License-Identifier: Apache-2.0
// stmatrix: two or four 8 x 8 matrices of 16-bit elements from fragment registers to shared memory, transposed.
#pragma once

#include <cstdint>

namespace billfish::ptx {

// Lane l gives the address of row l % 8 of matrix l / 8; that row is written with the matrix's column l % 8.
inline __device__ void store_matrices_transposed(std::uint32_t address, const std::uint32_t (&m)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(m[0]), "r"(m[1]), "r"(m[2]),
               "r"(m[3])
               : "memory");
}
inline __device__ void store_matrices_transposed(std::uint32_t address, const std::uint32_t (&m)[2]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(address), "r"(m[0]), "r"(m[1]) : "memory");
}
// A barrier of `threads` threads; id 0 is __syncthreads.
inline __device__ void named_barrier(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

}  // namespace billfish::ptx
