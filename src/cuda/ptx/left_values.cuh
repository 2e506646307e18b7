// SPDX-License-Identifier: Apache-2.0
// Values that one block leaves in global memory for another that runs at the same time. A value travels as the complement of its bits, so
// that zero means "not here yet": no flag, no fence, one way. The complement is zero for one NaN only, which arithmetic does not produce
// and which another NaN replaces. Whoever takes values puts zeros back.
#pragma once

namespace billfish::ptx {

inline __device__ unsigned left_bits(float value) { return max(~__float_as_uint(value), 1u); }

inline __device__ void leave_values(float* at, const float4& v) {
  asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(at), "r"(left_bits(v.x)), "r"(left_bits(v.y)),
               "r"(left_bits(v.z)), "r"(left_bits(v.w))
               : "memory");
}

// As they lie there now: to be looked at again unless all of them have come.
inline __device__ uint4 look_at_values(const float* at) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at) : "memory");
  return v;
}
inline __device__ bool have_come(const uint4& v) { return min(min(v.x, v.y), min(v.z, v.w)) != 0; }
inline __device__ float4 values_of(const uint4& v) {
  return make_float4(__uint_as_float(~v.x), __uint_as_float(~v.y), __uint_as_float(~v.z), __uint_as_float(~v.w));
}

inline __device__ void put_zeros_back(float* at) {
  asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %1, %1, %1};" ::"l"(at), "r"(0) : "memory");
}

}  // namespace billfish::ptx
