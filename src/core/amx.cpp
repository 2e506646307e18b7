// SPDX-License-Identifier: Apache-2.0
// See amx.hpp.
#include "core/amx.hpp"

#if defined(__linux__) && defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace billfish {

#if defined(__linux__) && defined(__x86_64__)

namespace {

constexpr unsigned kXgetbv = 1u << 27;                                    // leaf 1, c
constexpr unsigned kInstructions = (1u << 22) | (1u << 24) | (1u << 25);  // leaf 7, d: bf16, tiles, int8
constexpr unsigned kSavedBySystem = (1u << 17) | (1u << 18);              // shapes and contents of the registers
constexpr long kAskForFeature = 0x1023, kContents = 18;                   // arch_prctl: ARCH_REQ_XCOMP_PERM

bool detect() {
  unsigned a = 0, b = 0, c = 0, d = 0, saved = 0, unused = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kXgetbv) == 0) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kInstructions) != kInstructions) return false;
  __asm__("xgetbv" : "=a"(saved), "=d"(unused) : "c"(0));
  if ((saved & kSavedBySystem) != kSavedBySystem) return false;
  // Linux gives a process these registers when it asks, for all of its threads; it says no where a thread's stack for signals has no room
  // for them.
  return syscall(SYS_arch_prctl, kAskForFeature, kContents) == 0;
}

}  // namespace

bool amx_usable() {
  static const bool usable = detect();
  return usable;
}

#else

bool amx_usable() { return false; }

#endif

}  // namespace billfish
