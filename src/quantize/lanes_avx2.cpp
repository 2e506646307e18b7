// SPDX-License-Identifier: Apache-2.0
// The loops of lanes.hpp with AVX2. Compiled with -mavx2; reached only through best_lane_kernels().
#include "quantize/lane_loops.hpp"

namespace billfish::quantize {

#if defined(__AVX2__)
const LaneKernels avx2_lane_kernels = kernels_named("avx2");
#else
const LaneKernels avx2_lane_kernels = kernels_named("scalar");
#endif

}  // namespace billfish::quantize
