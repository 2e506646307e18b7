// SPDX-License-Identifier: Apache-2.0
// All policies of one codec, as a table. Included by the one-function translation units wgmma_<codec>_<activations>.cu.
#pragma once

#include <utility>

#include "cuda/sm90/wgmma_gemm.cuh"
#include "cuda/sm90/wgmma_instances.hpp"

namespace billfish::sm90 {

template <int kPolicy, WeightType kWeight, bool kBf16, bool kFine, bool kCluster>
const void* kernel_address() {
  if constexpr (kCluster && !kConfigs[kPolicy].splits_k()) {
    return nullptr;
  } else {
    return reinterpret_cast<const void*>(&wgmma_gemm<Variant<kPolicy, kWeight, kBf16, kFine, kCluster>>);
  }
}

template <WeightType kWeight, bool kBf16, bool kFine, bool kCluster, int... kPolicy>
const void* kernel_of(int policy, std::integer_sequence<int, kPolicy...>) {
  static const void* const kernels[] = {kernel_address<kPolicy, kWeight, kBf16, kFine, kCluster>()...};
  return kernels[policy];
}

template <WeightType kWeight, bool kBf16>
const void* kernel_of(int policy, bool fine, bool cluster) {
  constexpr auto kAll = std::make_integer_sequence<int, kPolicies>();
  if (cluster) return fine ? kernel_of<kWeight, kBf16, true, true>(policy, kAll) : kernel_of<kWeight, kBf16, false, true>(policy, kAll);
  return fine ? kernel_of<kWeight, kBf16, true, false>(policy, kAll) : kernel_of<kWeight, kBf16, false, false>(policy, kAll);
}

}  // namespace billfish::sm90
