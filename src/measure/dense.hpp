// SPDX-License-Identifier: Apache-2.0
// The unquantised product to compare with on a CPU: c[m,n] = a[m,k] x b[k,n], blocked and vectorised, b packed once.
// Called by api/ (billfish_tools_dense_*); calls one micro-kernel per instruction set, chosen at run time.
//
// Precision::full keeps b in f32. Precision::bf16 rounds a and b once to bf16 and accumulates in f32: with dot instructions on
// machines that have them, else by widening b on the fly (half the bytes, no faster arithmetic).
#pragma once

#include <cstdint>
#include <memory>

#include "core/status.hpp"
#include "core/threads.hpp"
#include "core/types.hpp"

namespace billfish::measure {

struct DenseKernel;  // dense_kernels.hpp

class Dense {
 public:
  // b is row-major [k, n], packed now (by one thread); precision full or bf16.
  static Result<std::unique_ptr<Dense>> create(const float* b, std::int64_t k, std::int64_t n, Precision precision);
  ~Dense();
  Dense(const Dense&) = delete;
  Dense& operator=(const Dense&) = delete;

  // a is [m, k], c is [m, n], both dense. Any thread; results do not depend on the number of threads.
  void multiply(const float* a, std::int64_t m, float* c, const Parallel& parallel) const;

  std::int64_t bytes() const;  // of packed b: what a call must read
  const char* name() const;    // "avx2 f32", "avx512 bf16", ...

 private:
  Dense() = default;
  const DenseKernel* kernel_ = nullptr;
  std::int64_t k_ = 0, n_ = 0;
  void* packed_ = nullptr;  // aligned to 64 bytes; [n panels][k][panel columns]
};

}  // namespace billfish::measure
