// SPDX-License-Identifier: Apache-2.0
// movmatrix: an 8 x 8 matrix of 16-bit elements in fragment registers, transposed.
#pragma once

#include <cstdint>

namespace billfish::ptx {

// Lane l has elements 2 (l % 4) and the next of row l / 4, and of the result those of column l / 4.
inline __device__ std::uint32_t transpose_matrix(std::uint32_t row) {
  std::uint32_t column;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(column) : "r"(row));
  return column;
}

}  // namespace billfish::ptx
