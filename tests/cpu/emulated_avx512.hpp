// SPDX-License-Identifier: Apache-2.0
// The instructions of kernels_avx512.cpp in plain C++, so that the AVX-512 kernels' source is tested on machines without them.
#pragma once

#include "core/half.hpp"
#include "cpu/kernel/table_avx512.hpp"

namespace billfish::cpu {
namespace {

struct EmulatedAvx512 {
  static constexpr int kLanes = 16;
  using F = Lanes<16>::F;
  using U = Lanes<16>::U;
  using I = Lanes<16>::I;
  using H = Lanes<16>::H;
  [[gnu::noinline]] static F multiply_add(F a, F b, F c) {
    for (int i = 0; i < 16; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
  }
  static float flushed(float f) { return __builtin_fabsf(f) < 0x1p-126f ? __builtin_copysignf(0.0f, f) : f; }
  // Subnormals count as zero, and the odd product is added first, as the instruction does.
  [[gnu::noinline]] static F dot_bf16(F sum, U a, U b) {
    for (int i = 0; i < 16; ++i) {
      for (const int shift : {16, 0}) {
        const float x = flushed(bf16_to_f32(static_cast<std::uint16_t>(a[i] >> shift)));
        const float y = flushed(bf16_to_f32(static_cast<std::uint16_t>(b[i] >> shift)));
        sum[i] = flushed(__builtin_fmaf(x, y, flushed(sum[i])));
      }
    }
    return sum;
  }
  [[gnu::noinline]] static I dot_u8_s8(I sum, U a, U b) {
    for (int i = 0; i < 16; ++i) {
      for (int shift = 0; shift < 32; shift += 8) {
        sum[i] += static_cast<int>(a[i] >> shift & 0xffu) * static_cast<std::int8_t>(b[i] >> shift & 0xffu);
      }
    }
    return sum;
  }
  [[gnu::noinline]] static U subtract8(U a, U b) {
    U result{};
    for (int i = 0; i < 16; ++i) {
      for (int shift = 0; shift < 32; shift += 8) result[i] |= (((a[i] >> shift) - (b[i] >> shift)) & 0xffu) << shift;
    }
    return result;
  }
  [[gnu::noinline]] static U lookup16(U index, U table) {
    std::uint16_t values[32];
    std::memcpy(values, &table, sizeof values);
    U result{};
    for (int i = 0; i < 16; ++i) result[i] = values[index[i] & 31u] | static_cast<std::uint32_t>(values[index[i] >> 16 & 31u]) << 16;
    return result;
  }
  [[gnu::noinline]] static F lookup32(U index, F table) {
    F result{};
    for (int i = 0; i < 16; ++i) result[i] = table[index[i] & 15u];
    return result;
  }
  [[gnu::noinline]] static U permute_bytes(U bytes, U order) {
    std::uint8_t from[64], at[64], result[64];
    std::memcpy(from, &bytes, sizeof from);
    std::memcpy(at, &order, sizeof at);
    for (int i = 0; i < 64; ++i) result[i] = from[at[i] & 63];
    return load<U>(result);
  }
  [[gnu::noinline]] static F from_f16(H h) {
    F f{};
    for (int i = 0; i < 16; ++i) f[i] = f16_to_f32(h[i]);
    return f;
  }
  [[gnu::noinline]] static H to_f16(F f) {
    H h{};
    for (int i = 0; i < 16; ++i) h[i] = f32_to_f16(f[i]);
    return h;
  }
};

}  // namespace
}  // namespace billfish::cpu
