// SPDX-License-Identifier: Apache-2.0
// All policies of one codec, as a table. Included by the one-function translation units wgmma_<codec>_<activations>.cu.
#pragma once

#include <utility>

#include "cuda/sm90/wgmma_gemm.cuh"
#include "cuda/sm90/wgmma_instances.hpp"

namespace billfish::sm90 {

template <WeightType kWeight, bool kBf16, int... kPolicy>
const void* kernel_of(int policy, bool fine, std::integer_sequence<int, kPolicy...>) {
  static const void* const coarse_kernels[] = {reinterpret_cast<const void*>(&wgmma_gemm<Variant<kPolicy, kWeight, kBf16, false>>)...};
  static const void* const fine_kernels[] = {reinterpret_cast<const void*>(&wgmma_gemm<Variant<kPolicy, kWeight, kBf16, true>>)...};
  return (fine ? fine_kernels : coarse_kernels)[policy];
}

template <WeightType kWeight, bool kBf16>
const void* kernel_of(int policy, bool fine) {
  return kernel_of<kWeight, kBf16>(policy, fine, std::make_integer_sequence<int, kPolicies>());
}

}  // namespace billfish::sm90
