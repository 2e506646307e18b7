// SPDX-License-Identifier: Apache-2.0
// What this CPU can do at most: reading memory, and multiply-adds in registers. Called by api/ (billfish_tools_cpu_ceilings,
// billfish_tools_read_seconds, billfish_tools_dot_rate); calls one loop per instruction set, chosen at run time.
#pragma once

#include <cstdint>

#include "core/threads.hpp"
#include "core/types.hpp"

namespace billfish::measure {

struct CpuCeilings {  // all threads of `parallel` together, in 1e9 operations per second; a multiply-add counts two
  double f32_gflops = 0;
  double bf16_gflops = 0;  // 0 where there is no bf16 dot instruction
  double int8_gops = 0;    // 0 where there is no int8 dot (vpdpbusd, or the vpmaddubsw chain of AVX2)
};
// About 0.2 s: the best of several runs of each loop.
CpuCeilings cpu_ceilings(const Parallel& parallel);

// The rate of one run of about `operations`: of the int8 dot for Precision::int8, else of the bf16 dot; of f32 where there is none.
// Between two products it says what the machine could do in the state that they met.
double dot_rate(Precision precision, double operations, const Parallel& parallel);

// Seconds to read `bytes` from `buffer` once with plain vector loads. Wall clock of all threads together.
double read_seconds(const void* buffer, std::int64_t bytes, const Parallel& parallel);

}  // namespace billfish::measure
