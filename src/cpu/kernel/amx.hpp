// SPDX-License-Identifier: Apache-2.0
// The instructions of AMX. A *matrix* is what one of its registers holds: 16 lines of 64 bytes, in memory one behind the other.
// Included by kernels_amx.cpp.
#pragma once

#include "cpu/kernel/avx512.hpp"
#include "cpu/kernel/matrix_arithmetic.hpp"

namespace billfish::cpu {
namespace {

// As the processor reads it.
struct alignas(64) MatrixShapes {
  std::uint8_t palette = 1, start_line = 0, reserved[14] = {};
  std::uint16_t line_bytes[16] = {};
  std::uint8_t lines[16] = {};
};

struct Amx : Avx512 {
  // Sums and activations of so many rows. Until release() the registers are this thread's to save and restore.
  [[gnu::always_inline]] static void use(int rows) {
    MatrixShapes shapes;
    for (int i = 0; i < kMatrices; ++i) {
      shapes.line_bytes[i] = kMatrixLine;
      shapes.lines[i] = static_cast<std::uint8_t>(is_weights(i) ? kMatrixLines : rows);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
  }
  [[gnu::always_inline]] static void release() { __asm__ volatile("tilerelease"); }

  template <int kTo>
  [[gnu::always_inline]] static void read(const std::uint32_t* from) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(std::int64_t{kMatrixLine}), "i"(kTo), "m"(*(const Bytes*)from));
  }
  template <int kFrom>
  [[gnu::always_inline]] static void write(std::uint32_t* to) {
    __asm__ volatile("tilestored %%tmm%c3, (%1,%2,1)" : "=m"(*(Bytes*)to) : "r"(to), "r"(std::int64_t{kMatrixLine}), "i"(kFrom));
  }
  template <int kSums, int kA, int kWeights>
  [[gnu::always_inline]] static void add_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kWeights));
  }
  template <int kSums, int kA, int kWeights>
  [[gnu::always_inline]] static void add_s8() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kWeights));
  }

 private:
  using Bytes = char[kMatrixLines * kMatrixLine];
};

}  // namespace
}  // namespace billfish::cpu
