// SPDX-License-Identifier: Apache-2.0
// Dense micro-kernels for AVX2 and FMA: up to 6 rows x 16 columns, twelve accumulators. bf16 weights are widened by a shift.
#include "measure/dense_kernels.hpp"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace billfish::measure {
namespace {

constexpr int kColumns = 16;

struct Pair {
  __m256 low, high;
};
Pair load_row(const float* b) { return {_mm256_loadu_ps(b), _mm256_loadu_ps(b + 8)}; }
__m256 widen(const std::uint16_t* b) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b))), 16));
}
Pair load_row(const std::uint16_t* b) { return {widen(b), widen(b + 8)}; }

template <int kRows, class Element>
void multiply(const float* a, const void* packed_b, std::int64_t units, float* c, std::int64_t ldc, bool accumulate) {
  // Every loop over accumulators is unrolled, or the compiler keeps them in memory.
  // Few rows have few accumulators: several steps of K side by side hide the latency of the multiply-add.
  constexpr int kSteps = kRows == 1 ? 4 : kRows <= 3 ? 2 : 1;
  const Element* b = static_cast<const Element*>(packed_b);
  __m256 low[kSteps][kRows], high[kSteps][kRows];
#pragma GCC unroll 16
  for (int s = 0; s < kSteps; ++s) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) low[s][r] = high[s][r] = _mm256_setzero_ps();
  }
  std::int64_t i = 0;
  for (; i + kSteps <= units; i += kSteps, a += kSteps * kRows, b += kSteps * kColumns) {
#pragma GCC unroll 16
    for (int s = 0; s < kSteps; ++s) {
      const Pair row = load_row(b + s * kColumns);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const __m256 value = _mm256_broadcast_ss(a + s * kRows + r);
        low[s][r] = _mm256_fmadd_ps(value, row.low, low[s][r]);
        high[s][r] = _mm256_fmadd_ps(value, row.high, high[s][r]);
      }
    }
  }
  for (; i < units; ++i, a += kRows, b += kColumns) {
    const Pair row = load_row(b);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const __m256 value = _mm256_broadcast_ss(a + r);
      low[0][r] = _mm256_fmadd_ps(value, row.low, low[0][r]);
      high[0][r] = _mm256_fmadd_ps(value, row.high, high[0][r]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int s = 1; s < kSteps; ++s) {
      low[0][r] = _mm256_add_ps(low[0][r], low[s][r]);
      high[0][r] = _mm256_add_ps(high[0][r], high[s][r]);
    }
    float* row = c + r * ldc;
    if (accumulate) {
      low[0][r] = _mm256_add_ps(low[0][r], _mm256_loadu_ps(row));
      high[0][r] = _mm256_add_ps(high[0][r], _mm256_loadu_ps(row + 8));
    }
    _mm256_storeu_ps(row, low[0][r]);
    _mm256_storeu_ps(row + 8, high[0][r]);
  }
}

template <class Element>
constexpr DenseKernel kernel(const char* name, bool bf16) {
  return {
      name,
      6,
      kColumns,
      1,
      1,
      4,
      static_cast<int>(sizeof(Element)),
      bf16,
      {multiply<1, Element>, multiply<2, Element>, multiply<3, Element>, multiply<4, Element>, multiply<5, Element>, multiply<6, Element>}};
}

}  // namespace

const DenseKernel dense_avx2_f32 = kernel<float>("avx2 f32", false);
const DenseKernel dense_avx2_bf16 = kernel<std::uint16_t>("avx2 bf16", true);

}  // namespace billfish::measure
#else
namespace billfish::measure {
const DenseKernel dense_avx2_f32 = {};
const DenseKernel dense_avx2_bf16 = {};
}  // namespace billfish::measure
#endif
