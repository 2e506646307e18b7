// SPDX-License-Identifier: Apache-2.0
#include "cuda/sm90/wgmma_instances.cuh"

namespace billfish::sm90 {
const void* kernel_u4_f16(int policy, Grain grain, bool cluster) { return kernel_of<WeightType::u4, false>(policy, grain, cluster); }
}  // namespace billfish::sm90
