// SPDX-License-Identifier: Apache-2.0
// The instructions of kernel/amx.hpp in plain C++, so that the AMX kernels' source is tested on machines without them. Lines beyond those
// that a register was given are poison, and so is everything after release().
#pragma once

#include <algorithm>

#include "cpu/kernel/table_amx.hpp"
#include "emulated_avx512.hpp"

namespace billfish::cpu {
namespace {

struct EmulatedAmx : EmulatedAvx512 {
  static constexpr std::uint32_t kPoison = 0x7fc0dead;  // NaN as f32 and as bf16
  struct Registers {
    std::uint32_t line[kMatrices][kMatrixLines][16];
    int lines[kMatrices];
  };
  static Registers& registers() {
    thread_local Registers mine;
    return mine;
  }
  static void poison(int rows) {
    Registers& r = registers();
    std::fill(&r.line[0][0][0], &r.line[0][0][0] + kMatrices * kMatrixWords, kPoison);
    for (int i = 0; i < kMatrices; ++i) r.lines[i] = rows == 0 ? 0 : is_weights(i) ? kMatrixLines : rows;
  }
  static void use(int rows) { poison(rows); }
  static void release() { poison(0); }

  template <int kTo>
  static void read(const std::uint32_t* from) {
    Registers& r = registers();
    std::copy(from, from + r.lines[kTo] * 16, r.line[kTo][0]);
  }
  template <int kFrom>
  static void write(std::uint32_t* to) {
    Registers& r = registers();
    std::copy(r.line[kFrom][0], r.line[kFrom][0] + r.lines[kFrom] * 16, to);
  }
  template <int kSums, int kA, int kWeights>
  static void add_bf16() {
    Registers& r = registers();
    for (int row = 0; row < r.lines[kSums]; ++row) {
      U sums = load<U>(r.line[kSums][row]);
      for (int k = 0; k < 16; ++k) sums = (U)dot_bf16((F)sums, load<U>(r.line[kWeights][k]), splat<U>(r.line[kA][row][k]));
      store(r.line[kSums][row], sums);
    }
  }
  template <int kSums, int kA, int kWeights>
  static void add_s8() {
    Registers& r = registers();
    const auto byte = [](std::uint32_t word, int i) { return static_cast<int>(static_cast<std::int8_t>(word >> (8 * i) & 0xffu)); };
    for (int row = 0; row < r.lines[kSums]; ++row) {
      for (int column = 0; column < 16; ++column) {
        int sum = static_cast<int>(r.line[kSums][row][column]);
        for (int k = 0; k < 16; ++k) {
          for (int i = 0; i < 4; ++i) sum += byte(r.line[kA][row][k], i) * byte(r.line[kWeights][k][column], i);
        }
        r.line[kSums][row][column] = static_cast<std::uint32_t>(sum);
      }
    }
  }
};

}  // namespace
}  // namespace billfish::cpu
