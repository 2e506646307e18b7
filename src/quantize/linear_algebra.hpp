// SPDX-License-Identifier: Apache-2.0
// LAPACK and BLAS, found at run time: OpenBLAS, else whatever LAPACK the machine has, else what the environment variable BILLFISH_LAPACK
// names. Nothing is linked, so the library loads without them. Row-major; sizes and strides must fit 31 bits, which is checked at the edge
// (fits). Called by hessian.cpp, factor.cpp, gptq.cpp, awq.cpp and errors.cpp.
//
// Every product is one call in one thread; callers cut matrices into tiles whose sizes depend on shapes alone and give the tiles to
// their Parallel. So bits do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.hpp"

namespace billfish::quantize {

class LinearAlgebra {
 public:
  // The library in use, loaded once; or Code::unsupported with what to install.
  static Result<const LinearAlgebra*> get();
  static Result<LinearAlgebra> load(const char* file);  // one shared library, for get() and for tests

  const std::string& file() const { return file_; }
  static bool fits(std::int64_t rows, std::int64_t stride);

  enum class Op { plain, transposed };
  // c [m,n] = alpha * op(a) [m,k] * op(b) [k,n] + beta * c
  void multiply(Op op_a, Op op_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) const;
  // The lower triangle of c [n,n] = alpha * op(a) op(a)^T + beta * c, op(a) [n,k].
  void multiply_by_own_transpose(Op op_a, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda, float beta,
                                 float* c, std::int64_t ldc) const;
  // a [n,n], lower triangle: a = l l^T. Returns 0, or 1 + the first row whose pivot is not positive.
  std::int64_t factor_lower(std::int64_t n, float* a, std::int64_t lda) const;
  // b [m,n] becomes x with x l^T = b; l [n,n] lower.
  void solve_lower_transposed(std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl, float* b, std::int64_t ldb) const;
  // b [n,m] becomes x with u^T x = b; u [n,n] upper, ones on its diagonal (which is not read).
  void solve_unit_upper_transposed(std::int64_t n, std::int64_t m, const float* u, std::int64_t ldu, float* b, std::int64_t ldb) const;

  // Keeps OpenBLAS to the calling thread while it lives, whatever the rest of the process set; hold one around every parallel region.
  class OneThread {
   public:
    explicit OneThread(const LinearAlgebra& library);
    ~OneThread();
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;

   private:
    const LinearAlgebra& library_;
  };

 private:
  using Int = std::int32_t;
  using Length = std::size_t;  // of a character argument, which Fortran passes behind the others
  using Gemm = void (*)(const char*, const char*, const Int*, const Int*, const Int*, const float*, const float*, const Int*, const float*,
                        const Int*, const float*, float*, const Int*, Length, Length);
  using Syrk = void (*)(const char*, const char*, const Int*, const Int*, const float*, const float*, const Int*, const float*, float*,
                        const Int*, Length, Length);
  using Trsm = void (*)(const char*, const char*, const char*, const char*, const Int*, const Int*, const float*, const float*, const Int*,
                        float*, const Int*, Length, Length, Length, Length);
  using Potrf = void (*)(const char*, const Int*, float*, const Int*, Int*, Length);

  std::string file_;
  Gemm gemm_ = nullptr;
  Syrk syrk_ = nullptr;
  Trsm trsm_ = nullptr;
  Potrf potrf_ = nullptr;
  void (*set_threads_)(int) = nullptr;  // OpenBLAS alone has these two
  int (*get_threads_)() = nullptr;
};

}  // namespace billfish::quantize
