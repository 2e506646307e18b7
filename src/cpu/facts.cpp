// SPDX-License-Identifier: Apache-2.0
// What this machine's vector units can do, the operating system's consent included. Called once by gemm/ and measure users; calls cpuid.
#include "core/amx.hpp"
#include "cpu/cpu.hpp"
#include "cpu/kernels.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace billfish::cpu {
namespace {

#if defined(__x86_64__) || defined(__i386__)

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers leaf(unsigned number, unsigned sub) {
  Registers r;
  if (__get_cpuid_count(number, sub, &r.a, &r.b, &r.c, &r.d) == 0) return {};
  return r;
}

constexpr bool bit(unsigned value, int index) { return (value >> index & 1u) != 0; }

// Which register files the operating system saves: bit 1 xmm, 2 ymm, 5 mask registers, 6 zmm 0-15 upper halves, 7 zmm 16-31.
unsigned saved_registers() {
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

gemm::DeviceFacts detect() {
  gemm::DeviceFacts facts;
  facts.kind = DeviceKind::cpu;
  const Registers basic = leaf(1, 0);
  if (!bit(basic.c, 27)) return facts;  // no xgetbv for programs: the system saves nothing beyond xmm
  const unsigned saved = saved_registers();
  const bool ymm = (saved & 0x06u) == 0x06u;
  const bool zmm = (saved & 0xe6u) == 0xe6u;
  const Registers extended = leaf(7, 0);
  const Registers more = leaf(7, 1);
  const bool fma = bit(basic.c, 12);
  const bool f16c = bit(basic.c, 29);
  facts.avx2 = ymm && bit(basic.c, 28) && fma && f16c && bit(extended.b, 5);
  facts.avx512 =
      zmm && facts.avx2 && bit(extended.b, 16) && bit(extended.b, 30) && bit(extended.b, 31) && bit(extended.c, 1);  // F, BW, VL, VBMI
  facts.avx512_vnni = facts.avx512 && bit(extended.c, 11);
  facts.avx512_bf16 = facts.avx512 && bit(more.a, 5);
  facts.amx = facts.avx512_bf16 && facts.avx512_vnni && amx_usable();
  // Measured: Xeon with AMX 185 against 391 GFLOP/s on two threads, Zen 4 490 against 245 (docs/kernels/cpu.md).
  facts.slow_bf16_dot = facts.avx512_bf16 && leaf(0, 0).b == signature_INTEL_ebx;
  return facts;
}

// 19h: Zen 3 and 4; 1ah: Zen 5. 0 where the vendor is another.
unsigned amd_family() {
  if (leaf(0, 0).b != signature_AMD_ebx) return 0;
  const unsigned signature = leaf(1, 0).a, base = signature >> 8 & 0xfu;
  return base == 0xf ? base + (signature >> 20 & 0xffu) : base;
}

#else

gemm::DeviceFacts detect() {
  gemm::DeviceFacts facts;
  facts.kind = DeviceKind::cpu;
  return facts;
}
unsigned amd_family() { return 0; }

#endif

}  // namespace

gemm::DeviceFacts facts() {
  static const gemm::DeviceFacts detected = detect();
  return detected;
}

bool fast_subnormals() {
  // Measured on Zen 3; Zen 4 and 5 are taken to be no worse.
  static const bool detected = amd_family() >= 0x19;
  return detected;
}

CodesAhead codes_ahead(int rows, bool whole_pages) {
  // Measured (docs/kernels/cpu.md): one block for Zen 3 and the Xeon. On Zen 5 few rows, which wait for memory alone, gain 3 to 6 % by
  // asking twice; more rows 4 % if steps in turn ask for other blocks where eight steps would ask for the same place in eight pages.
  static const bool zen5 = amd_family() >= 0x1a;
  if (!zen5) return {};
  if (rows == 1 || (rows <= kRowsAskedTwice && whole_pages)) return {{1, 1, 1, 1}, 4};
  return rows > kRowsAskedTwice && whole_pages ? CodesAhead{{2, 3, 4, 5}, 0} : CodesAhead{{2, 2, 2, 2}, 0};
}

}  // namespace billfish::cpu
