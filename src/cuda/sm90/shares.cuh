// SPDX-License-Identifier: Apache-2.0
// Tiles shared by blocks, and how their sums meet in a workspace of zeros. Items (parts of K) are numbered tile by tile; a block has a range
// of them and works from its last tile to its first: what it does for a tile that a later block ends comes first, so that the later
// block finds it ready. The block with the end of a tile's K owns it and waits for lower block numbers only, which have started before it:
// no deadlock, whatever else runs on the device. It adds in the order of the blocks: the same bits on every replay.
//
// A value travels as the complement of its bits. Zero therefore means "not here yet" (it would be a NaN that no arithmetic produces), and
// needs no flag and no fence beside it. Whoever takes a value puts zero in its place: the workspace is all zeros between launches.
#pragma once

#include <cstdint>

#include "cuda/sm90/shares.hpp"

namespace billfish::sm90 {

inline __device__ unsigned coded(float value) {
  const unsigned bits = ~__float_as_uint(value);
  return bits == 0 ? 0x8000'0000u : bits;  // of the canonical NaN
}

inline __device__ void leave_quad(float* at, const float4& sum) {
  asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(at), "r"(coded(sum.x)), "r"(coded(sum.y)), "r"(coded(sum.z)),
               "r"(coded(sum.w))
               : "memory");
}

// Whole warps. Waits for `count` of kCount quads, quad i at `at` + i * stride floats, hands each to add(i, quad), and puts zeros back.
template <int kCount, class Add>
__device__ void take_quads(float* at, std::int64_t stride, int count, const Add& add) {
  uint4 coded[kCount];
  bool missing = true;
  while (__any_sync(0xffffffffu, missing)) {
    missing = false;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i < count) {
        asm volatile("ld.relaxed.gpu.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(coded[i].x), "=r"(coded[i].y), "=r"(coded[i].z), "=r"(coded[i].w)
                     : "l"(at + i * stride)
                     : "memory");
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i < count) missing |= coded[i].x == 0 || coded[i].y == 0 || coded[i].z == 0 || coded[i].w == 0;
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < count) {
      add(i, make_float4(__uint_as_float(~coded[i].x), __uint_as_float(~coded[i].y), __uint_as_float(~coded[i].z),
                         __uint_as_float(~coded[i].w)));
      asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %1, %1, %1};" ::"l"(at + i * stride), "r"(0) : "memory");
    }
  }
}

}  // namespace billfish::sm90
