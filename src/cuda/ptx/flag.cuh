// SPDX-License-Identifier: Apache-2.0
// A word in global memory by which one thread of the device tells others that what it wrote before is there.
#pragma once

namespace billfish::ptx {

// What this thread saw written, by itself or before a barrier, is there for the `takers` that wait for the flag.
inline __device__ void set_flag(unsigned* flag, unsigned takers) {
  asm volatile("fence.acq_rel.gpu;\n st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(takers) : "memory");
}
// Waits for the flag; the last of its takers leaves it zero.
inline __device__ void take_flag(unsigned* flag) {
  unsigned value;
  do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
  while (value == 0);
  asm volatile("red.relaxed.gpu.global.add.u32 [%0], -1;" ::"l"(flag) : "memory");
}

// What another thread wrote before it set a flag that this one has taken: from the L2 cache, which is where it is.
inline __device__ float4 load_flagged(const float* from) {
  float4 v;
  asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(from) : "memory");
  return v;
}

}  // namespace billfish::ptx
