// SPDX-License-Identifier: Apache-2.0
// The one seam for weight types: words of Marlin bytes -> registers of an A operand of mma.m16n8k16 (and of wgmma with A in registers).
// What a lane holds of a 16 (k) x 16 (n) block is 8 codes in 1 word (4-bit) or 2 words (8-bit); out come four registers of two 16-bit
// floats each, code - zero, exactly (every such integer is a number of f16 and of bf16):
//
//   a[0]: column n8,     k = 2j, 2j+1        a[2]: column n8,     k = 2j+8, 2j+9      n8 = lane / 4, j = lane % 4
//   a[1]: column n8 + 8, k = 2j, 2j+1        a[3]: column n8 + 8, k = 2j+8, 2j+9      (layout/marlin_weights.hpp has the picture)
//
// The trick: or-ing a code into the mantissa of 1024 (f16) or 128 (bf16) makes the number 1024 + code; adding -(1024 + zero), the
// "addend", leaves code - zero. Types with stored zeros take the addends of their two columns from addend(); the others have constants.
// Called by the kernels of both families and, on the host, by tests. A new type (fp8, fp4) adds a specialisation here and nothing else.
#pragma once

#include <bit>
#include <cstdint>

#include "core/types.hpp"
#include "cuda/ptx/packed_math.cuh"

namespace billfish::cuda {

template <WeightType kType, bool kBf16>
struct Decode {
  static constexpr int kBits = bits_of(kType);
  static constexpr int kWords = kBits / 4;  // a lane's words of a 16 x 16 block
  static constexpr bool kZeros = has_zeros(kType);
  static constexpr std::uint32_t kMagic = kBf16 ? 0x4300'4300u : 0x6400'6400u;  // 128, 1024: one unit in the last place is 1
  static constexpr std::uint32_t kSign = 0x8000'8000u;
  static constexpr bool kByteInBf16 = kBits == 8 && kBf16;  // 8 bits do not fit bf16's mantissa of 7

  // What turns a number with the magic exponent into code - zero, in both halves.
  BILLFISH_HD static constexpr std::uint32_t addend(int zero) {
    if constexpr (kByteInBf16) {  // decoded to code - 128 first
      return (std::bit_cast<std::uint32_t>(static_cast<float>(128 - zero)) >> 16) * 0x0001'0001u;
    } else {
      return (kMagic | kSign) + static_cast<std::uint32_t>(zero) * 0x0001'0001u;
    }
  }

  // Of codes that stay at bits 4 and 20, where they count 16 times: (1024 + 16 code) / 16 - (64 + zero) spares a shift. f16 has the
  // mantissa bits for it.
  static constexpr bool kInPlace = kBits == 4 && !kBf16;
  BILLFISH_HD static constexpr std::uint32_t in_place_addend(int zero) {
    return 0xd400'd400u + 16u * static_cast<std::uint32_t>(zero) * 0x0001'0001u;
  }
  // The same from addend(zero), in one instruction.
  BILLFISH_HD static constexpr std::uint32_t in_place_addend_of(std::uint32_t addend) {
    return addend * 16u + (in_place_addend(0) - Decode::addend(0) * 16u);
  }

  // addend_low belongs to column n8, addend_high to n8 + 8; types without stored zeros ignore them.
  BILLFISH_HD static constexpr void block(const std::uint32_t* words, std::uint32_t addend_low, std::uint32_t addend_high,
                                          std::uint32_t (&a)[4]) {
    if constexpr (!kZeros) addend_low = addend_high = addend(implicit_zero(kType));
    if constexpr (kBits == 4 && kInPlace && !kZeros) {
      constexpr std::uint32_t in_place = in_place_addend(implicit_zero(kType));
      block_in_place(words, addend_low, addend_high, in_place, in_place, a);
    } else if constexpr (kBits == 4) {
      four_bit(words[0], addend_low, a[0], a[2]);
      four_bit(words[0] >> 8, addend_high, a[1], a[3]);
    } else {
      a[0] = byte_pair<0>(words[0], addend_low);
      a[2] = byte_pair<1>(words[0], addend_low);
      a[1] = byte_pair<0>(words[1], addend_high);
      a[3] = byte_pair<1>(words[1], addend_high);
    }
  }

  // The same numbers in fewer instructions, for callers that keep two addends a column.
  BILLFISH_HD static constexpr void block_in_place(const std::uint32_t* words, std::uint32_t addend_low, std::uint32_t addend_high,
                                                   std::uint32_t in_place_low, std::uint32_t in_place_high, std::uint32_t (&a)[4]) {
    static_assert(kInPlace);
    four_bit_in_place(words[0], addend_low, in_place_low, a[0], a[2]);
    four_bit_in_place(words[0] >> 8, addend_high, in_place_high, a[1], a[3]);
  }

 private:
  // Codes at bits 0 and 16 -> first, at bits 4 and 20 -> second.
  BILLFISH_HD static constexpr void four_bit(std::uint32_t word, std::uint32_t addend, std::uint32_t& first, std::uint32_t& second) {
    first = ptx::add2<kBf16>(ptx::and_or(word, 0x000f'000fu, kMagic), addend);
    second = ptx::add2<kBf16>(ptx::and_or(word >> 4, 0x000f'000fu, kMagic), addend);
  }
  BILLFISH_HD static constexpr void four_bit_in_place(std::uint32_t word, std::uint32_t addend, std::uint32_t in_place,
                                                      std::uint32_t& first, std::uint32_t& second) {
    constexpr std::uint32_t sixteenth = 0x2c00'2c00u;
    first = ptx::add2<false>(ptx::and_or(word, 0x000f'000fu, kMagic), addend);
    second = ptx::fma2<false>(ptx::and_or(word, 0x00f0'00f0u, kMagic), sixteenth, in_place);
  }

  // Bytes kFirst and kFirst + 2: the halves of one register.
  template <int kFirst>
  BILLFISH_HD static constexpr std::uint32_t byte_pair(std::uint32_t word, std::uint32_t addend) {
    if constexpr (!kBf16) {
      constexpr std::uint32_t selector = kFirst == 0 ? 0x5250u : 0x5351u;
      return ptx::add2<false>(ptx::permute_bytes<selector>(word, kMagic), addend);
    } else {
      // The low 7 bits go into the mantissa of 128; the top bit chooses between -128 and -256. Sum: code - 128.
      const std::uint32_t pair = kFirst == 0 ? word : word >> 8;
      const std::uint32_t low = ptx::and_or(pair, 0x007f'007fu, 0x4300'4300u);
      const std::uint32_t high = ptx::and_xor(pair, 0x0080'0080u, 0xc380'c380u);
      const std::uint32_t minus_128 = ptx::add2<true>(low, high);
      if constexpr (!kZeros) return minus_128;
      return ptx::add2<true>(minus_128, addend);
    }
  }
};

// Stored zeros of the eight columns n8 + 8j of a 64-column tile, as a lane loads them: 1 word (4-bit), 2 words (8-bit).
// Inverse of layout/marlin_zeros.hpp's interleave.
template <int kBits>
BILLFISH_HD constexpr int stored_zero(const std::uint32_t* words, int j) {
  if constexpr (kBits == 4) {
    const int place = j % 2 * 4 + j / 2;
    return static_cast<int>(words[0] >> (4 * place) & 0xfu);
  } else {
    const int within = j % 4;
    const int place = within % 2 * 2 + within / 2;
    return static_cast<int>(words[j / 4] >> (8 * place) & 0xffu);
  }
}

}  // namespace billfish::cuda
