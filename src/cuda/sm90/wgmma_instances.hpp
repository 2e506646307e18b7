// SPDX-License-Identifier: Apache-2.0
// The compiled variants by codec and activation type, one translation unit each; nullptr where a variant is not compiled.
#pragma once

#include "cuda/sm90/scale_rows.hpp"

namespace billfish::sm90 {

const void* kernel_u4b8_f16(int policy, Grain grain, bool cluster);
const void* kernel_u4b8_bf16(int policy, Grain grain, bool cluster);
const void* kernel_u4_f16(int policy, Grain grain, bool cluster);
const void* kernel_u4_bf16(int policy, Grain grain, bool cluster);
const void* kernel_u8b128_f16(int policy, Grain grain, bool cluster);
const void* kernel_u8b128_bf16(int policy, Grain grain, bool cluster);

}  // namespace billfish::sm90
