// SPDX-License-Identifier: Apache-2.0
// The CPU backend's doorway: what this machine can do, and its three implementations.
#pragma once

#include "gemm/problem.hpp"

namespace billfish::gemm {
struct Implementation;
}

namespace billfish::cpu {

gemm::DeviceFacts facts();  // of the machine this runs on
bool fast_subnormals();     // it multiplies subnormal numbers as fast as others; elsewhere they may cost a hundred cycles
int blocks_ahead();         // from the block of codes that is multiplied to the one to prefetch, when codes are streamed

extern const gemm::Implementation scalar;
extern const gemm::Implementation avx2;
extern const gemm::Implementation avx512;  // AVX-512 F, BW, VL, VBMI, VNNI and BF16

}  // namespace billfish::cpu
