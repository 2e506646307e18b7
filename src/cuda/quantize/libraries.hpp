// SPDX-License-Identifier: Apache-2.0
// cuBLAS and cuSOLVER, found at run time; nothing is linked, so the library loads without them. The few entry points that quantising needs
// are declared here: their signatures have been the same since CUDA 11.1. Called by engine.cu.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/status.hpp"

namespace billfish::cuda {

struct SolverLibraries {
  using Answer = int;                                     // 0 is success
  static constexpr int kNoTranspose = 0, kTranspose = 1;  // cublasOperation_t
  static constexpr int kLower = 0, kUpper = 1;            // cublasFillMode_t
  static constexpr int kRight = 1, kUnitDiagonal = 1;     // cublasSideMode_t, cublasDiagType_t
  static constexpr int kDefaultMath = 0;                  // cublasMath_t: f32 as f32, no TF32
  static constexpr int kF32 = 0;                          // cudaDataType
  static constexpr std::size_t kWorkspaceBytes = std::size_t{64} << 20;

  Answer (*create)(void** handle) = nullptr;
  Answer (*set_stream)(void* handle, void* stream) = nullptr;
  Answer (*set_workspace)(void* handle, void* workspace, std::size_t bytes) = nullptr;
  Answer (*set_math)(void* handle, int mode) = nullptr;
  Answer (*gemm)(void* handle, int op_a, int op_b, int m, int n, int k, const float* alpha, const float* a, int lda, const float* b,
                 int ldb, const float* beta, float* c, int ldc) = nullptr;
  Answer (*syrk)(void* handle, int fill, int op, int n, int k, const float* alpha, const float* a, int lda, const float* beta, float* c,
                 int ldc) = nullptr;
  Answer (*trsm)(void* handle, int side, int fill, int op, int diagonal, int m, int n, const float* alpha, const float* a, int lda,
                 float* b, int ldb) = nullptr;

  Answer (*create_solver)(void** handle) = nullptr;
  Answer (*set_solver_stream)(void* handle, void* stream) = nullptr;
  Answer (*create_params)(void** params) = nullptr;
  Answer (*potrf_sizes)(void* handle, void* params, int fill, std::int64_t n, int type, const void* a, std::int64_t lda, int compute,
                        std::size_t* device_bytes, std::size_t* host_bytes) = nullptr;
  Answer (*potrf)(void* handle, void* params, int fill, std::int64_t n, int type, void* a, std::int64_t lda, int compute, void* device,
                  std::size_t device_bytes, void* host, std::size_t host_bytes, int* info) = nullptr;

  // Loaded once; or Code::unsupported with what to install.
  static Result<const SolverLibraries*> get();
};

}  // namespace billfish::cuda
