// SPDX-License-Identifier: Apache-2.0
// The streaming kernel's compiled variants by codec and activation type, one translation unit each.
#pragma once

namespace billfish::sm90 {

const void* stream_u4b8_f16(int policy, bool fine);
const void* stream_u4b8_bf16(int policy, bool fine);
const void* stream_u4_f16(int policy, bool fine);
const void* stream_u4_bf16(int policy, bool fine);
const void* stream_u8b128_f16(int policy, bool fine);
const void* stream_u8b128_bf16(int policy, bool fine);

}  // namespace billfish::sm90
