// SPDX-License-Identifier: Apache-2.0
// Where mma_launch.cu finds the kernels that other files instantiate.
#pragma once

#include "core/types.hpp"

namespace billfish::cuda::mma {

template <WeightType kType>
struct Instances {
  static const void* kernel(bool bf16, int policy);
};
extern template struct Instances<WeightType::u4b8>;
extern template struct Instances<WeightType::u4>;
extern template struct Instances<WeightType::u8b128>;
extern template struct Instances<WeightType::u8>;

// mma_reduce.cu: arguments (MmaArguments, unsigned blocks a row); each block sums kReduceThreads x 8 columns of one row.
constexpr int kReduceThreads = 128;
const void* reduce_kernel();

}  // namespace billfish::cuda::mma
