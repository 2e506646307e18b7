// SPDX-License-Identifier: Apache-2.0
// One thread of a warp, chosen so that the compiler knows that it is one.
#pragma once

#include <cstdint>

namespace billfish::ptx {

// Whole warps call it. What follows under it needs no loop over lanes: instructions of the copy engine take their operands from registers
// of the whole warp, and ptxas writes such a loop around them under any other condition.
inline __device__ bool elect_thread() {
  std::uint32_t elected;
  asm volatile(
      "{ .reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.b32 %0, 1, 0, p; }"
      : "=r"(elected)
      :
      : "memory");
  return elected != 0;
}

}  // namespace billfish::ptx
