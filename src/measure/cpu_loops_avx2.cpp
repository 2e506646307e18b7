// SPDX-License-Identifier: Apache-2.0
// Ceiling loops for AVX2 and FMA. int8 is the fastest exact product of 4-bit codes that we know: vpmaddubsw into 16-bit sums, which are
// widened to 32 bits every sixteenth time (cpu/kernel/int8_pairs.hpp says why not later). With 8-bit codes nothing is as fast.
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

constexpr int kNarrow = 4;  // independent 16-bit sums
constexpr int kChain = 16;  // products that each takes in before it is widened

void dot_bytes(std::int64_t iterations, float* sink) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i codes = _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sink)), _mm256_set1_epi8(15));
  const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sink + 8));
  __m256i sums[kNarrow];
  for (int j = 0; j < kNarrow; ++j) sums[j] = _mm256_set1_epi32(j);
  for (std::int64_t i = 0; i < iterations; ++i) {
    __m256i narrow[kNarrow] = {};
#pragma GCC unroll 8
    for (int k = 0; k < kChain; k += 2) {
      // Eight products, then eight additions: of all orders the one that shares the four pipes best (Zen 3: 0.63 cycles a product and
      // addition, 0.65 when they alternate).
      __m256i p0, p1, p2, p3, p4, p5, p6, p7;
      __asm__ volatile(
          "vpmaddubsw %[v], %[c], %[p0]\n\tvpmaddubsw %[v], %[c], %[p1]\n\tvpmaddubsw %[v], %[c], %[p2]\n\t"
          "vpmaddubsw %[v], %[c], %[p3]\n\tvpmaddubsw %[v], %[c], %[p4]\n\tvpmaddubsw %[v], %[c], %[p5]\n\t"
          "vpmaddubsw %[v], %[c], %[p6]\n\tvpmaddubsw %[v], %[c], %[p7]\n\t"
          "vpaddw %[p0], %[n0], %[n0]\n\tvpaddw %[p1], %[n1], %[n1]\n\tvpaddw %[p2], %[n2], %[n2]\n\tvpaddw %[p3], %[n3], %[n3]\n\t"
          "vpaddw %[p4], %[n0], %[n0]\n\tvpaddw %[p5], %[n1], %[n1]\n\tvpaddw %[p6], %[n2], %[n2]\n\tvpaddw %[p7], %[n3], %[n3]"
          : [n0] "+x"(narrow[0]), [n1] "+x"(narrow[1]), [n2] "+x"(narrow[2]), [n3] "+x"(narrow[3]), [p0] "=&x"(p0), [p1] "=&x"(p1),
            [p2] "=&x"(p2), [p3] "=&x"(p3), [p4] "=&x"(p4), [p5] "=&x"(p5), [p6] "=&x"(p6), [p7] "=&x"(p7)
          : [c] "x"(codes), [v] "x"(values));
    }
    for (int j = 0; j < kNarrow; ++j) sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(narrow[j], ones));
  }
  __m256i sum = sums[0];
  for (int j = 1; j < kNarrow; ++j) sum = _mm256_add_epi32(sum, sums[j]);
  _mm256_storeu_ps(sink, _mm256_cvtepi32_ps(sum));
}

}  // namespace

const CpuLoops avx2_loops = {read_bytes, {multiply_add, 2.0 * 8 * kSums}, {}, {dot_bytes, 2.0 * 32 * kChain* kNarrow}};

}  // namespace billfish::measure
#else
namespace billfish::measure {
const CpuLoops avx2_loops = {};
}  // namespace billfish::measure
#endif
