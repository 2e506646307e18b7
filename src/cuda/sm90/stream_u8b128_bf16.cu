// SPDX-License-Identifier: Apache-2.0
#include "cuda/sm90/stream_instances.cuh"

namespace billfish::sm90 {
const void* stream_u8b128_bf16(int policy, bool fine) { return stream_of<WeightType::u8b128, true>(policy, fine); }
}  // namespace billfish::sm90
