// SPDX-License-Identifier: Apache-2.0
// The CPU backend's doorway: what this machine can do, and its implementations.
#pragma once

#include "gemm/problem.hpp"

namespace billfish::gemm {
struct Implementation;
}

namespace billfish::cpu {

struct CodesAhead;

gemm::DeviceFacts facts();  // of the machine this runs on
bool fast_subnormals();     // it multiplies subnormal numbers as fast as others; elsewhere they may cost a hundred cycles
CodesAhead codes_ahead(int rows, bool whole_pages);  // of streams whose rows of codes are whole pages of memory or not

extern const gemm::Implementation scalar;
extern const gemm::Implementation avx2;
extern const gemm::Implementation avx512;  // AVX-512 F, BW, VL, VBMI, VNNI and BF16
extern const gemm::Implementation amx;     // that and AMX with bf16 and int8

}  // namespace billfish::cpu
