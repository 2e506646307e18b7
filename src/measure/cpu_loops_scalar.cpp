// SPDX-License-Identifier: Apache-2.0
// Ceiling loops for any machine: what the compiler makes of plain C++ for the baseline architecture.
#include <cstring>

#include "core/amx.hpp"
#include "measure/cpu_loops.hpp"

namespace billfish::measure {
namespace {

constexpr int kLanes = 32;  // eight 4-lane accumulators: enough to hide the latency of one multiply and one add

std::uint64_t read_bytes(const unsigned char* data, std::int64_t bytes) {
  std::uint64_t sums[8] = {};
  std::int64_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    std::uint64_t words[8];
    std::memcpy(words, data + i, 64);
    for (int j = 0; j < 8; ++j) sums[j] += words[j];
  }
  for (; i < bytes; ++i) sums[0] += data[i];
  std::uint64_t sum = 0;
  for (const std::uint64_t part : sums) sum += part;
  return sum;
}

void multiply_add(std::int64_t iterations, float* sink) {
  float sums[kLanes], factor[kLanes];
  for (int j = 0; j < kLanes; ++j) {
    sums[j] = sink[j % 16];
    factor[j] = 0.999f + sink[j % 16];
  }
  for (std::int64_t i = 0; i < iterations; ++i) {
    for (int j = 0; j < kLanes; ++j) sums[j] = sums[j] * factor[j] + factor[j];
  }
  for (int j = 0; j < kLanes; ++j) sink[j % 16] += sums[j];
}

CpuFeatures detect() {
  CpuFeatures features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  features.avx512 =
      features.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  features.avx512_vnni = features.avx512 && __builtin_cpu_supports("avx512vnni");
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
  features.amx = features.avx512_bf16 && amx_usable();
#endif
  return features;
}

}  // namespace

const CpuLoops scalar_loops = {read_bytes, {multiply_add, 2.0 * kLanes}, {}, {}};

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

}  // namespace billfish::measure
