// SPDX-License-Identifier: Apache-2.0
// All policies of one codec, as a table. Included by the one-function translation units stream_<codec>_<activations>.cu.
#pragma once

#include <utility>

#include "cuda/sm90/stream_gemm.cuh"
#include "cuda/sm90/stream_instances.hpp"

namespace billfish::sm90 {

template <WeightType kWeight, bool kBf16, int... kPolicy>
const void* stream_of(int policy, bool fine, std::integer_sequence<int, kPolicy...>) {
  static const void* const coarse_kernels[] = {reinterpret_cast<const void*>(&stream_gemm<Stream<kPolicy, kWeight, kBf16, false>>)...};
  static const void* const fine_kernels[] = {reinterpret_cast<const void*>(&stream_gemm<Stream<kPolicy, kWeight, kBf16, true>>)...};
  return (fine ? fine_kernels : coarse_kernels)[policy];
}

template <WeightType kWeight, bool kBf16>
const void* stream_of(int policy, bool fine) {
  return stream_of<kWeight, kBf16>(policy, fine, std::make_integer_sequence<int, kStreamPolicies>());
}

}  // namespace billfish::sm90
