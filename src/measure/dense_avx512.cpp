// SPDX-License-Identifier: Apache-2.0
// Dense micro-kernels for AVX-512: up to 12 rows x 32 columns, 24 accumulators; f32 by FMA, bf16 by vdpbf16ps on pairs along K.
#include "measure/dense_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BF16__)
#include <immintrin.h>

namespace billfish::measure {
namespace {

constexpr int kColumns = 32;

struct F32 {
  static __m512 step(__m512 sum, float a, __m512 b) { return _mm512_fmadd_ps(_mm512_set1_ps(a), b, sum); }
};
struct Bf16Pairs {  // a's 4 bytes are two bf16 values, and so is every lane of b
  static __m512 step(__m512 sum, float a, __m512 b) {
    const __m512i pair = _mm512_castps_si512(_mm512_set1_ps(a));
    return _mm512_dpbf16_ps(sum, (__m512bh)pair, (__m512bh)_mm512_castps_si512(b));
  }
};

template <int kRows, class Arithmetic>
void multiply(const float* a, const void* packed_b, std::int64_t units, float* c, std::int64_t ldc, bool accumulate) {
  // Every loop over accumulators is unrolled, or the compiler keeps them in memory.
  // Few rows have few accumulators: several steps of K side by side hide the latency of the multiply-add.
  constexpr int kSteps = kRows == 1 ? 8 : kRows == 2 ? 4 : kRows <= 4 ? 2 : 1;
  const float* b = static_cast<const float*>(packed_b);
  __m512 low[kSteps][kRows], high[kSteps][kRows];
#pragma GCC unroll 16
  for (int s = 0; s < kSteps; ++s) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) low[s][r] = high[s][r] = _mm512_setzero_ps();
  }
  std::int64_t i = 0;
  for (; i + kSteps <= units; i += kSteps, a += kSteps * kRows, b += kSteps * kColumns) {
#pragma GCC unroll 16
    for (int s = 0; s < kSteps; ++s) {
      const __m512 b_low = _mm512_loadu_ps(b + s * kColumns), b_high = _mm512_loadu_ps(b + s * kColumns + 16);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        low[s][r] = Arithmetic::step(low[s][r], a[s * kRows + r], b_low);
        high[s][r] = Arithmetic::step(high[s][r], a[s * kRows + r], b_high);
      }
    }
  }
  for (; i < units; ++i, a += kRows, b += kColumns) {
    const __m512 b_low = _mm512_loadu_ps(b), b_high = _mm512_loadu_ps(b + 16);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      low[0][r] = Arithmetic::step(low[0][r], a[r], b_low);
      high[0][r] = Arithmetic::step(high[0][r], a[r], b_high);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int s = 1; s < kSteps; ++s) {
      low[0][r] = _mm512_add_ps(low[0][r], low[s][r]);
      high[0][r] = _mm512_add_ps(high[0][r], high[s][r]);
    }
    float* row = c + r * ldc;
    if (accumulate) {
      low[0][r] = _mm512_add_ps(low[0][r], _mm512_loadu_ps(row));
      high[0][r] = _mm512_add_ps(high[0][r], _mm512_loadu_ps(row + 16));
    }
    _mm512_storeu_ps(row, low[0][r]);
    _mm512_storeu_ps(row + 16, high[0][r]);
  }
}

template <class Arithmetic>
constexpr DenseKernel kernel(const char* name, int k_unit, bool bf16) {
  return {name,
          12,
          kColumns,
          k_unit,
          1,
          4,
          4,
          bf16,
          {multiply<1, Arithmetic>, multiply<2, Arithmetic>, multiply<3, Arithmetic>, multiply<4, Arithmetic>, multiply<5, Arithmetic>,
           multiply<6, Arithmetic>, multiply<7, Arithmetic>, multiply<8, Arithmetic>, multiply<9, Arithmetic>, multiply<10, Arithmetic>,
           multiply<11, Arithmetic>, multiply<12, Arithmetic>}};
}

}  // namespace

const DenseKernel dense_avx512_f32 = kernel<F32>("avx512 f32", 1, false);
const DenseKernel dense_avx512_bf16 = kernel<Bf16Pairs>("avx512 bf16", 2, true);

}  // namespace billfish::measure
#else
namespace billfish::measure {
const DenseKernel dense_avx512_f32 = {};
const DenseKernel dense_avx512_bf16 = {};
}  // namespace billfish::measure
#endif
