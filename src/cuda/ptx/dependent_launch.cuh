// SPDX-License-Identifier: Apache-2.0
// Programmatic dependent launch. Both are free of effect in a launch without the attribute, and compile to nothing below sm_90.
#pragma once

namespace billfish::ptx {

// From here on the next kernel of the stream may start (once every block has said so or ended).
__device__ inline void allow_dependents() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// Returns when the kernels before this one have ended and what they wrote can be read.
__device__ inline void wait_for_predecessors() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace billfish::ptx
