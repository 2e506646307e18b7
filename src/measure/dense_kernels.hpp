// SPDX-License-Identifier: Apache-2.0
// The micro-kernels of dense.hpp: a tile of `rows` x `columns` of C over a stretch of K. No inline code here: see cpu_loops.hpp.
#pragma once

#include <cstdint>

namespace billfish::measure {

constexpr int kMaxDenseRows = 32;

// Packed operands: a is [units / line][rows][line], b is [units][columns], where a unit is `k_unit` neighbours along K.
// a elements are f32, or bf16 pairs if k_unit is 2; b elements are f32, bf16, or bf16 pairs.
struct DenseKernel {
  const char* name;
  int rows;  // at most, <= kMaxDenseRows
  int columns;
  int k_unit;   // 1 or 2
  int line;     // units of a side by side; stretches of K are so many, or several times
  int a_bytes;  // of one element of one unit of a: always 4
  int b_bytes;  // likewise of b: 4, or 2 for single bf16
  bool bf16;    // a and b are rounded to bf16 when packed
  // multiply[r - 1]: r rows. C rows lie ldc apart; accumulate adds to what is there.
  void (*multiply[kMaxDenseRows])(const float* a, const void* b, std::int64_t units, float* c, std::int64_t ldc, bool accumulate);
};

extern const DenseKernel dense_scalar_f32, dense_scalar_bf16;
extern const DenseKernel dense_avx2_f32, dense_avx2_bf16;      // rows 0 where the compiler or architecture has no AVX2
extern const DenseKernel dense_avx512_f32, dense_avx512_bf16;  // likewise
extern const DenseKernel dense_amx_bf16;

}  // namespace billfish::measure
