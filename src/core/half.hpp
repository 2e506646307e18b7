// SPDX-License-Identifier: Apache-2.0
// f16 and bf16 as bit patterns, with conversions that are right for every value: rounding to nearest even, subnormals,
// infinities and NaN (which stays NaN). Portable and slow; kernels use instructions.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "core/types.hpp"

namespace billfish {

constexpr float f16_to_f32(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  const std::uint32_t exponent = (h >> 10) & 0x1fu;
  std::uint32_t mantissa = h & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal or zero: exact in f32
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

constexpr std::uint16_t f32_to_f16(float f) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
  const std::uint16_t sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);   // NaN
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // >= 65520 rounds to infinity
  if (magnitude < 0x38800000u) {                                                    // below 2^-14: subnormal, units of 2^-24
    // Adding 0.5 puts the units of 2^-24 at the end of the mantissa; the addition rounds to nearest even.
    const std::uint32_t shifted = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f);
    return static_cast<std::uint16_t>(sign | (shifted - std::bit_cast<std::uint32_t>(0.5f)));
  }
  const std::uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

constexpr float bf16_to_f32(std::uint16_t b) { return std::bit_cast<float>(static_cast<std::uint32_t>(b) << 16); }

constexpr std::uint16_t f32_to_bf16(float f) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x0040u);  // NaN
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Element `index` of an array of any element type. The array may lie at any address: a file's tensors are where its writer put them.
inline float load_element(const void* base, ElementType type, std::int64_t index) {
  const char* const at = static_cast<const char*>(base) + index * bytes_of(type);
  if (type == ElementType::f32) {
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return type == ElementType::f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}
inline void store_element(void* base, ElementType type, std::int64_t index, float value) {
  char* const at = static_cast<char*>(base) + index * bytes_of(type);
  if (type == ElementType::f32) {
    std::memcpy(at, &value, sizeof value);
  } else {
    const std::uint16_t bits = type == ElementType::f16 ? f32_to_f16(value) : f32_to_bf16(value);
    std::memcpy(at, &bits, sizeof bits);
  }
}

}  // namespace billfish
