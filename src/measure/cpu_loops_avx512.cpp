// SPDX-License-Identifier: Apache-2.0
// Ceiling loops for AVX-512: f32 with F, bf16 with vdpbf16ps, int8 with vpdpbusd. The caller asks the machine which it has.
#include "measure/cpu_loops.hpp"

#if defined(__AVX512F__) && defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#include <immintrin.h>

namespace billfish::measure {
namespace {

constexpr int kSums = 16;  // more than latency times issue width

std::uint64_t read_bytes(const unsigned char* data, std::int64_t bytes) {
  __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  std::int64_t i = 0;
  for (; i + 256 <= bytes; i += 256) {
    for (int j = 0; j < 4; ++j) sums[j] = _mm512_add_epi64(sums[j], _mm512_loadu_si512(data + i + 64 * j));
  }
  const __m512i sum = _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_add_epi64(sums[2], sums[3]));
  std::uint64_t total = static_cast<std::uint64_t>(_mm512_reduce_add_epi64(sum));
  for (; i < bytes; ++i) total += data[i];
  return total;
}

void multiply_add(std::int64_t iterations, float* sink) {
  const __m512 a = _mm512_loadu_ps(sink), b = _mm512_set1_ps(sink[3]);
  __m512 sums[kSums];
  for (int j = 0; j < kSums; ++j) sums[j] = _mm512_mul_ps(a, _mm512_set1_ps(static_cast<float>(j)));
  for (std::int64_t i = 0; i < iterations; ++i) {
    for (int j = 0; j < kSums; ++j) sums[j] = _mm512_fmadd_ps(a, b, sums[j]);
  }
  __m512 sum = sums[0];
  for (int j = 1; j < kSums; ++j) sum = _mm512_add_ps(sum, sums[j]);
  _mm512_storeu_ps(sink, sum);
}

void dot_bf16(std::int64_t iterations, float* sink) {
  const __m512bh a = (__m512bh)_mm512_loadu_si512(sink);
  const __m512bh b = (__m512bh)_mm512_set1_epi32(0x3f803f80);  // pairs of 1
  __m512 sums[kSums];
  for (int j = 0; j < kSums; ++j) sums[j] = _mm512_set1_ps(static_cast<float>(j));
  for (std::int64_t i = 0; i < iterations; ++i) {
    for (int j = 0; j < kSums; ++j) sums[j] = _mm512_dpbf16_ps(sums[j], a, b);
  }
  __m512 sum = sums[0];
  for (int j = 1; j < kSums; ++j) sum = _mm512_add_ps(sum, sums[j]);
  _mm512_storeu_ps(sink, sum);
}

void dot_bytes(std::int64_t iterations, float* sink) {
  const __m512i a = _mm512_loadu_si512(sink), b = _mm512_set1_epi8(3);
  __m512i sums[kSums];
  for (int j = 0; j < kSums; ++j) sums[j] = _mm512_set1_epi32(j);
  for (std::int64_t i = 0; i < iterations; ++i) {
    for (int j = 0; j < kSums; ++j) sums[j] = _mm512_dpbusd_epi32(sums[j], a, b);
  }
  __m512i sum = sums[0];
  for (int j = 1; j < kSums; ++j) sum = _mm512_add_epi32(sum, sums[j]);
  _mm512_storeu_ps(sink, _mm512_cvtepi32_ps(sum));
}

}  // namespace

const CpuLoops avx512_loops = {read_bytes, {multiply_add, 2.0 * 16 * kSums}, {dot_bf16, 2.0 * 32 * kSums}, {dot_bytes, 2.0 * 64 * kSums}};

}  // namespace billfish::measure
#else
namespace billfish::measure {
const CpuLoops avx512_loops = {};
}  // namespace billfish::measure
#endif
