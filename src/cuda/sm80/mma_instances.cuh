// SPDX-License-Identifier: Apache-2.0
// The kernels of one weight type by activation type and policy, as pointers that mma_launch.cu can launch. Included by mma_<type>.cu, which
// instantiate it, and by mma_launch.cu through the declaration in mma_kernels.hpp.
#pragma once

#include "cuda/sm80/mma_gemm.cuh"
#include "cuda/sm80/mma_kernels.hpp"

namespace billfish::cuda::mma {

template <WeightType kType>
const void* Instances<kType>::kernel(bool bf16, int policy) {
  static const void* const kernels[2][kPolicies] = {
      {reinterpret_cast<const void*>(mma_gemm<kType, false, 0>), reinterpret_cast<const void*>(mma_gemm<kType, false, 1>),
       reinterpret_cast<const void*>(mma_gemm<kType, false, 2>)},
      {reinterpret_cast<const void*>(mma_gemm<kType, true, 0>), reinterpret_cast<const void*>(mma_gemm<kType, true, 1>),
       reinterpret_cast<const void*>(mma_gemm<kType, true, 2>)},
  };
  return kernels[bf16][policy];
}

}  // namespace billfish::cuda::mma
