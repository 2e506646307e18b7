// SPDX-License-Identifier: Apache-2.0
// Elements of C and of the bias, by their types at run time. Called by the kernels' epilogues.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "core/types.hpp"
#include "layout/marlin_scales.hpp"

namespace billfish::sm90 {

constexpr int kF32 = static_cast<int>(ElementType::f32), kF16 = static_cast<int>(ElementType::f16);

inline __device__ void store_element(void* base, int type, std::int64_t index, float value) {
  if (type == kF32) {
    static_cast<float*>(base)[index] = value;
  } else if (type == kF16) {
    static_cast<__half*>(base)[index] = __float2half_rn(value);
  } else {
    static_cast<__nv_bfloat16*>(base)[index] = __float2bfloat16_rn(value);
  }
}

// Two 16-bit elements, rounded.
inline __device__ std::uint32_t pack_pair(int type, float low, float high) {
  std::uint32_t packed;
  if (type == kF16) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  }
  return packed;
}

template <class Arguments>
__device__ float bias_of(const Arguments& args, int n) {
  if (args.bias == nullptr) return 0.0f;
  const std::int64_t at = args.bias_permuted ? layout::marlin_column_scale(n) : n;
  if (args.bias_type == kF32) return static_cast<const float*>(args.bias)[at];
  if (args.bias_type == kF16) return __half2float(static_cast<const __half*>(args.bias)[at]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(args.bias)[at]);
}

}  // namespace billfish::sm90
