// SPDX-License-Identifier: Apache-2.0
// A word in global memory by which one thread of the device tells another that what it wrote before is there.
#pragma once

namespace billfish::ptx {

// What this thread saw written, by itself or before a barrier, is there for whoever sees the flag.
inline __device__ void set_flag(unsigned* flag) {
  asm volatile("fence.acq_rel.gpu;\n st.relaxed.gpu.global.u32 [%0], 1;" ::"l"(flag) : "memory");
}
// Waits for the flag and takes it back.
inline __device__ void take_flag(unsigned* flag) {
  unsigned value;
  do asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
  while (value == 0);
  asm volatile("st.relaxed.gpu.global.u32 [%0], 0;\n fence.acq_rel.gpu;" ::"l"(flag) : "memory");
}

// Between ordinary accesses and those of the copy engine to the same memory.
inline __device__ void fence_async_proxy() { asm volatile("fence.proxy.async;" ::: "memory"); }

}  // namespace billfish::ptx
