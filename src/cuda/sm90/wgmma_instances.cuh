// SPDX-License-Identifier: Apache-2.0
// All policies of one codec, as a table. Included by the one-function translation units wgmma_<codec>_<activations>.cu.
#pragma once

#include <utility>

#include "cuda/sm90/wgmma_gemm.cuh"
#include "cuda/sm90/wgmma_instances.hpp"

namespace billfish::sm90 {

template <int kPolicy, WeightType kWeight, bool kBf16, Grain kGrain, bool kCluster>
const void* kernel_address() {
  if constexpr ((kCluster && !kConfigs[kPolicy].splits_k()) || (kGrain == Grain::steps && !kConfigs[kPolicy].any_group)) {
    return nullptr;
  } else {
    return reinterpret_cast<const void*>(&wgmma_gemm<Variant<kPolicy, kWeight, kBf16, kGrain, kCluster>>);
  }
}

template <WeightType kWeight, bool kBf16, Grain kGrain, bool kCluster, int... kPolicy>
const void* kernel_of(int policy, std::integer_sequence<int, kPolicy...>) {
  static const void* const kernels[] = {kernel_address<kPolicy, kWeight, kBf16, kGrain, kCluster>()...};
  return kernels[policy];
}

template <WeightType kWeight, bool kBf16, Grain kGrain>
const void* kernel_of(int policy, bool cluster) {
  constexpr auto kAll = std::make_integer_sequence<int, kPolicies>();
  return cluster ? kernel_of<kWeight, kBf16, kGrain, true>(policy, kAll) : kernel_of<kWeight, kBf16, kGrain, false>(policy, kAll);
}

// Null: there is no such kernel.
template <WeightType kWeight, bool kBf16>
const void* kernel_of(int policy, Grain grain, bool cluster) {
  switch (grain) {
    case Grain::stage: return kernel_of<kWeight, kBf16, Grain::stage>(policy, cluster);
    case Grain::pairs: return kernel_of<kWeight, kBf16, Grain::pairs>(policy, cluster);
    case Grain::steps: return kernel_of<kWeight, kBf16, Grain::steps>(policy, cluster);
  }
  return nullptr;
}

}  // namespace billfish::sm90
