// SPDX-License-Identifier: Apache-2.0
// Ceiling loops for AVX2 and FMA. int8 is the chain that AVX2 kernels use: vpmaddubsw into 16-bit sums, every fourth widened to 32.
#include "measure/cpu_loops.hpp"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace billfish::measure {
namespace {

constexpr int kSums = 12;  // more than latency times issue width, and leaves registers for the operands

std::uint64_t read_bytes(const unsigned char* data, std::int64_t bytes) {
  __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  std::int64_t i = 0;
  for (; i + 256 <= bytes; i += 256) {
    const unsigned char* at = data + i;
    for (int j = 0; j < 8; ++j) {
      sums[j % 4] = _mm256_add_epi64(sums[j % 4], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32 * j)));
    }
  }
  const __m256i sum = _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
  alignas(32) std::uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum);
  std::uint64_t total = lanes[0] + lanes[1] + lanes[2] + lanes[3];
  for (; i < bytes; ++i) total += data[i];
  return total;
}

void multiply_add(std::int64_t iterations, float* sink) {
  const __m256 a = _mm256_loadu_ps(sink), b = _mm256_loadu_ps(sink + 8);
  __m256 sums[kSums];
  for (int j = 0; j < kSums; ++j) sums[j] = _mm256_mul_ps(a, _mm256_set1_ps(static_cast<float>(j)));
  for (std::int64_t i = 0; i < iterations; ++i) {
    for (int j = 0; j < kSums; ++j) sums[j] = _mm256_fmadd_ps(a, b, sums[j]);
  }
  __m256 sum = sums[0];
  for (int j = 1; j < kSums; ++j) sum = _mm256_add_ps(sum, sums[j]);
  _mm256_storeu_ps(sink, sum);
}

constexpr int kBytes = 3;  // independent 32-bit sums, each fed by four byte products

void dot_bytes(std::int64_t iterations, float* sink) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sink));
  const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sink + 8));
  __m256i sums[kBytes];
  for (int j = 0; j < kBytes; ++j) sums[j] = _mm256_set1_epi32(j);
  for (std::int64_t i = 0; i < iterations; ++i) {
    for (int j = 0; j < kBytes; ++j) {
      __m256i narrow = _mm256_maddubs_epi16(codes, values);
      for (int step = 1; step < 4; ++step) {
        // Keeps the four products apart: without it they are one, computed once.
        __asm__ volatile("" : "+x"(codes));
        narrow = _mm256_add_epi16(narrow, _mm256_maddubs_epi16(codes, values));
      }
      __asm__ volatile("" : "+x"(codes));
      sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(narrow, ones));
    }
  }
  __m256i sum = sums[0];
  for (int j = 1; j < kBytes; ++j) sum = _mm256_add_epi32(sum, sums[j]);
  _mm256_storeu_ps(sink, _mm256_cvtepi32_ps(sum));
}

}  // namespace

const CpuLoops avx2_loops = {read_bytes, {multiply_add, 2.0 * 8 * kSums}, {}, {dot_bytes, 2.0 * 32 * 4 * kBytes}};

}  // namespace billfish::measure
#else
namespace billfish::measure {
const CpuLoops avx2_loops = {};
}  // namespace billfish::measure
#endif
