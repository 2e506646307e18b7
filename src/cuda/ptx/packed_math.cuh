// SPDX-License-Identifier: Apache-2.0
// Arithmetic on two 16-bit floats in a 32-bit register, and bit tricks, one instruction a function. On the host the same functions are
// computed in f32 and rounded, so that code written with them can be tested without a GPU. Called by decode.cuh and the kernels.
#pragma once

#include <cstdint>

#include "core/half.hpp"
#include "core/integers.hpp"

namespace billfish::ptx {

namespace packed_math_host {
template <bool kBf16>
constexpr float to_f32(std::uint32_t bits) {
  return kBf16 ? bf16_to_f32(static_cast<std::uint16_t>(bits)) : f16_to_f32(static_cast<std::uint16_t>(bits));
}
template <bool kBf16>
constexpr std::uint32_t to_16(float value) {
  return kBf16 ? f32_to_bf16(value) : f32_to_f16(value);
}
}  // namespace packed_math_host

// a * b + c in both halves, rounded once (on the host: twice, which is the same for the exact values that it is tested with).
template <bool kBf16>
BILLFISH_HD constexpr std::uint32_t fma2(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
#if defined(__CUDA_ARCH__)
  std::uint32_t d;
  if constexpr (kBf16) {
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  } else {
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  }
  return d;
#else
  using namespace packed_math_host;
  const auto half = [&](int shift) {
    return to_16<kBf16>(to_f32<kBf16>(a >> shift) * to_f32<kBf16>(b >> shift) + to_f32<kBf16>(c >> shift)) << shift;
  };
  return half(0) | half(16);
#endif
}

// a + b in both halves. bf16 additions exist from sm_90 on only; x * 1 + b is the same number.
template <bool kBf16>
BILLFISH_HD constexpr std::uint32_t add2(std::uint32_t a, std::uint32_t b) {
  if constexpr (kBf16) {
    return fma2<true>(a, 0x3f803f80u, b);
  } else {
#if defined(__CUDA_ARCH__)
    std::uint32_t d;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
#else
    return fma2<false>(a, 0x3c003c00u, b);
#endif
  }
}

// a * b in both halves, rounded once.
template <bool kBf16>
BILLFISH_HD constexpr std::uint32_t mul2(std::uint32_t a, std::uint32_t b) {
#if defined(__CUDA_ARCH__)
  if constexpr (!kBf16) {
    std::uint32_t d;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
  }
#endif
  return fma2<kBf16>(a, b, 0x80008000u);  // -0 keeps the sign of a zero product
}

// One half of `pair` in both halves: free where it is an operand of the arithmetic above, which can choose halves itself.
BILLFISH_HD constexpr std::uint32_t both_low(std::uint32_t pair) {
#if defined(__CUDA_ARCH__)
  std::uint32_t d;
  asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {l, l}; }" : "=r"(d) : "r"(pair));
  return d;
#else
  return (pair & 0xffffu) * 0x0001'0001u;
#endif
}
BILLFISH_HD constexpr std::uint32_t both_high(std::uint32_t pair) {
#if defined(__CUDA_ARCH__)
  std::uint32_t d;
  asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {h, h}; }" : "=r"(d) : "r"(pair));
  return d;
#else
  return (pair >> 16) * 0x0001'0001u;
#endif
}

// (word & mask) | bits. One LOP3.
BILLFISH_HD constexpr std::uint32_t and_or(std::uint32_t word, std::uint32_t mask, std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  std::uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(word), "r"(mask), "r"(bits));
  return d;
#else
  return (word & mask) | bits;
#endif
}

// (word & mask) ^ bits. One LOP3.
BILLFISH_HD constexpr std::uint32_t and_xor(std::uint32_t word, std::uint32_t mask, std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  std::uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(d) : "r"(word), "r"(mask), "r"(bits));
  return d;
#else
  return (word & mask) ^ bits;
#endif
}

// Byte i of the result is byte (selector >> 4i & 7) of {low: bytes 0-3, high: bytes 4-7}.
template <std::uint32_t kSelector>
BILLFISH_HD constexpr std::uint32_t permute_bytes(std::uint32_t low, std::uint32_t high) {
#if defined(__CUDA_ARCH__)
  std::uint32_t d;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(low), "r"(high), "n"(kSelector));
  return d;
#else
  std::uint32_t d = 0;
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t from = kSelector >> (4 * i) & 7u;
    d |= ((from < 4 ? low >> (8 * from) : high >> (8 * (from - 4))) & 0xffu) << (8 * i);
  }
  return d;
#endif
}

}  // namespace billfish::ptx
