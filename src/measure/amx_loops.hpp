// SPDX-License-Identifier: Apache-2.0
// AMX for measurements: registers 0-3 are sums of 16 x 16, 4-5 rows of a, 6-7 columns of b; 16 lines of 64 bytes in memory each. No
// intrinsics, because g++ 12 forgets that they read memory. Included by translation units whose names end in _amx.
#pragma once

#include <cstdint>

namespace billfish::measure {
namespace {

constexpr int kMatrixBytes = 1024;

inline void use_matrices(int rows) {
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t line_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t lines[16] = {};
  } shapes;
  for (int i = 0; i < 8; ++i) shapes.lines[i] = static_cast<std::uint8_t>(i < 6 ? rows : 16);
  __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
}
inline void release_matrices() { __asm__ volatile("tilerelease"); }

template <int kTo>
[[gnu::always_inline]] inline void read_matrix(const void* from, std::int64_t line = 64) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(line), "i"(kTo) : "memory");
}
template <int kFrom>
[[gnu::always_inline]] inline void write_matrix(void* to, std::int64_t line = 64) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(line), "i"(kFrom) : "memory");
}
template <int kSums, int kA, int kB>
[[gnu::always_inline]] inline void add_bf16_product() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
}
template <int kSums, int kA, int kB>
[[gnu::always_inline]] inline void add_s8_product() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
}

}  // namespace
}  // namespace billfish::measure
