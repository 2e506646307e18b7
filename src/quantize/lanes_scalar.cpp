// SPDX-License-Identifier: Apache-2.0
// The loops of lanes.hpp with the instructions that every machine of the architecture has, and the choice between the two.
#include "quantize/lane_loops.hpp"

namespace billfish::quantize {

const LaneKernels scalar_lane_kernels = kernels_named("scalar");

const LaneKernels& best_lane_kernels() {
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return avx2_lane_kernels;
#endif
  return scalar_lane_kernels;
}

}  // namespace billfish::quantize
