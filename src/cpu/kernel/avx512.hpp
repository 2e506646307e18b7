// SPDX-License-Identifier: Apache-2.0
// The instructions of AVX-512 F, BW, VL, VBMI, VNNI and BF16 that the kernels use. Included by kernels_avx512.cpp and kernels_amx.cpp.
#pragma once

#include <immintrin.h>

#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

struct Avx512 {  // one instruction a function
  static constexpr int kLanes = 16;
  using F = Lanes<16>::F;
  using U = Lanes<16>::U;
  using I = Lanes<16>::I;
  using H = Lanes<16>::H;
  [[gnu::always_inline]] static F multiply_add(F a, F b, F c) { return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
  [[gnu::always_inline]] static F dot_bf16(F sum, U a, U b) { return (F)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b); }
  [[gnu::always_inline]] static I dot_u8_s8(I sum, U a, U b) { return (I)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b); }
  [[gnu::always_inline]] static U subtract8(U a, U b) { return (U)_mm512_sub_epi8((__m512i)a, (__m512i)b); }
  [[gnu::always_inline]] static U lookup16(U index, U table) { return (U)_mm512_permutexvar_epi16((__m512i)index, (__m512i)table); }
  // Masks of all lanes: without them g++ 12 warns about its own header.
  [[gnu::always_inline]] static F lookup32(U index, F table) {
    return (F)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)index, (__m512)table);
  }
  [[gnu::always_inline]] static U permute_bytes(U bytes, U order) {
    return (U)_mm512_maskz_permutexvar_epi8(~0ull, (__m512i)order, (__m512i)bytes);
  }
  [[gnu::always_inline]] static F from_f16(H h) { return (F)_mm512_maskz_cvtph_ps(0xffff, (__m256i)h); }
  [[gnu::always_inline]] static H to_f16(F f) { return (H)_mm512_maskz_cvtps_ph(0xffff, (__m512)f, _MM_FROUND_TO_NEAREST_INT); }
};

}  // namespace
}  // namespace billfish::cpu
