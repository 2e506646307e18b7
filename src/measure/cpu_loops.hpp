// SPDX-License-Identifier: Apache-2.0
// The loops behind ceilings.hpp, one set per instruction set. Each set lives in a translation unit with its own compiler flags, so
// this header holds no code: an inline function compiled there could be the copy that the linker keeps for everyone.
#pragma once

#include <cstdint>

namespace billfish::measure {

// Runs `iterations` of independent multiply-adds in registers; what it computes goes to sink[0..16) so that it is not optimised away.
struct RateLoop {
  void (*run)(std::int64_t iterations, float* sink) = nullptr;  // null: no such instruction
  double operations = 0;                                        // per iteration; a multiply-add counts two
};

struct CpuLoops {
  std::uint64_t (*read)(const unsigned char* data, std::int64_t bytes) = nullptr;  // returns a checksum
  RateLoop f32, bf16, int8;
};

struct AmxLoops {
  RateLoop bf16, int8;
};

extern const CpuLoops scalar_loops;
extern const CpuLoops avx2_loops;    // all null where the compiler or the architecture has no AVX2
extern const CpuLoops avx512_loops;  // likewise
extern const AmxLoops amx_loops;

// What this machine runs, asked once.
struct CpuFeatures {
  bool avx2 = false;    // with FMA
  bool avx512 = false;  // F, BW and VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx = false;
};
const CpuFeatures& cpu_features();

}  // namespace billfish::measure
