// SPDX-License-Identifier: Apache-2.0
// The sm80 kernels for u8b128 weights. A file a type, so that types compile side by side.
#include "cuda/sm80/mma_instances.cuh"

template struct billfish::cuda::mma::Instances<billfish::WeightType::u8b128>;
