// SPDX-License-Identifier: Apache-2.0
// Random layers in checkpoint order for benchmarks: GPTQ words where the shape allows it, else raw codes. Called by bench_cpu.cpp, and
// by bench_cuda.cpp for shapes that need padding.
#pragma once

#include <cstdint>
#include <vector>

#include "billfish/billfish.h"
#include "library.hpp"

namespace billfish::cli {

class RandomMatrix {
 public:
  RandomMatrix(std::int64_t k, std::int64_t n, std::int64_t group, billfish_weight_type type, billfish_element_type scale_type,
               std::uint64_t seed, bool act_order = false);
  RandomMatrix(const RandomMatrix&) = delete;
  RandomMatrix& operator=(const RandomMatrix&) = delete;
  void draw_again(std::uint64_t seed);  // other codes, in the same memory
  const billfish_matrix& matrix() const { return matrix_; }
  std::int64_t bytes() const { return codes_.bytes() + zeros_.bytes() + scales_.bytes(); }

 private:
  Buffer codes_, zeros_, scales_, g_idx_;
  billfish_matrix matrix_ = BILLFISH_MATRIX_INIT;
};

}  // namespace billfish::cli
