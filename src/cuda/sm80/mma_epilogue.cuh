// SPDX-License-Identifier: Apache-2.0
// From a block's sums in shared memory to C: the parts of K are added in the order of their index (so that the same call gives the same
// bits), bias is added last, C is rounded once. Called by mma_gemm.cuh and mma_reduce.cu.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/sm80/mma_policy.hpp"
#include "layout/marlin_scales.hpp"

namespace billfish::cuda::mma {

__device__ inline float bias_at(const MmaArguments& args, int column) {
  const std::int64_t position = args.bias_permuted ? layout::marlin_column_scale(column) : column;
  if (args.bias_f32) return static_cast<const float*>(args.bias)[position];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(args.bias)[position];
  return args.bias_bf16 ? __uint_as_float(static_cast<std::uint32_t>(bits) << 16) : __half2float(__ushort_as_half(bits));
}

__device__ inline std::uint16_t round_to_16(float value, bool bf16) {
  return bf16 ? __bfloat16_as_ushort(__float2bfloat16_rn(value)) : __half_as_ushort(__float2half_rn(value));
}

// Eight consecutive columns of one row; those from n on are left out.
__device__ inline void finish(const MmaArguments& args, int row, int column, float (&value)[8]) {
  if (args.bias != nullptr) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (column + i < args.n) value[i] += bias_at(args, column + i);
    }
  }
  const std::int64_t offset = row * args.ldc + column;
  if (args.c_f32) {
    float* c = static_cast<float*>(args.c) + offset;
    if (args.vector_c && column + 8 <= args.n) {
      reinterpret_cast<float4*>(c)[0] = make_float4(value[0], value[1], value[2], value[3]);
      reinterpret_cast<float4*>(c)[1] = make_float4(value[4], value[5], value[6], value[7]);
      return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (column + i < args.n) c[i] = value[i];
    }
    return;
  }
  std::uint16_t* c = static_cast<std::uint16_t*>(args.c) + offset;
  if (args.vector_c && column + 8 <= args.n) {
    std::uint32_t pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pairs[i] = round_to_16(value[2 * i], args.c_bf16) | static_cast<std::uint32_t>(round_to_16(value[2 * i + 1], args.c_bf16)) << 16;
    }
    *reinterpret_cast<uint4*>(c) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (column + i < args.n) c[i] = round_to_16(value[i], args.c_bf16);
  }
}

// value = sum of `parts` runs of eight floats, `stride` floats apart, in order.
__device__ inline void sum_in_order(const float* source, int parts, std::int64_t stride, float (&value)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) value[i] = 0.0f;
  for (int part = 0; part < parts; ++part, source += stride) {
    const float4 low = reinterpret_cast<const float4*>(source)[0];
    const float4 high = reinterpret_cast<const float4*>(source)[1];
    value[0] += low.x, value[1] += low.y, value[2] += low.z, value[3] += low.w;
    value[4] += high.x, value[5] += high.y, value[6] += high.z, value[7] += high.w;
  }
}

// All threads of the block, after the warps' sums are in shared memory: [warps_k][tile_m][sums_row_floats].
__device__ inline void store_tile(const MmaArguments& args, const float* sums, int first_token, int first_column, int split) {
  const int row_floats = static_cast<int>(sums_row_floats(args.tile_n));
  const int rows = min(args.tile_m, args.m - first_token);
  const int units = args.tile_n / 8;
  for (int index = threadIdx.x; index < rows * units; index += blockDim.x) {
    const int row = index / units;
    const int column = first_column + index % units * 8;
    if (column >= args.n) continue;
    float value[8];
    sum_in_order(sums + row * row_floats + index % units * 8, args.warps_k, static_cast<std::int64_t>(args.tile_m) * row_floats, value);
    if (args.splits == 1) {
      finish(args, first_token + row, column, value);
    } else {
      float* partial = args.partials + (static_cast<std::int64_t>(split) * args.m + first_token + row) * args.padded_n + column;
      reinterpret_cast<float4*>(partial)[0] = make_float4(value[0], value[1], value[2], value[3]);
      reinterpret_cast<float4*>(partial)[1] = make_float4(value[4], value[5], value[6], value[7]);
    }
  }
}

}  // namespace billfish::cuda::mma
