// SPDX-License-Identifier: Apache-2.0
// Arithmetic with the int8 dot instruction: unsigned codes times signed activations, four k at a time, exact in 32 bits. Sums begin at
// minus the implied zero times the sum of the activations; stored zeros are subtracted at the end of a chunk. Both exactly.
// Included by the kernels' translation units only.
//
// A quad is four k in order, 4q to 4q + 3. A byte of 4-bit codes is k and k + 8 of one column, and of a k pair's bytes 0 and 2 (1 and 3)
// are one column: half a line of each of two j, their bytes put into order, has q in its low nibbles and q + 2 in its high ones.
#pragma once

#include <array>
#include <type_traits>

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/int16_pairs.hpp"
#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

template <class Isa>
struct Int8Quads {
  static constexpr int kLanes = Isa::kLanes;
  using F = typename Lanes<kLanes>::F;
  using U = typename Lanes<kLanes>::U;
  using I = typename Lanes<kLanes>::I;
  using Weight = U;
  using Sum = I;
  using Partial = Sum;
  static constexpr int kChunkSteps = cpu::kChunkSteps;
  static constexpr int kPartialSteps = 0;
  static constexpr bool kJoinsHalves = false;
  static constexpr int kCentre = 0;
  static constexpr int kBeginWords = 1;
  static constexpr int kSlots = 1;
  static constexpr bool kSlotsOutside = false;
  static constexpr bool kByColumns = true;
  static constexpr int kParts = 1;
  static constexpr bool kQuantizes = true;
  static constexpr bool kZeroAfterSum = true;
  static constexpr bool kScalesPanel = false;
  static constexpr bool kScreens = false;
  static constexpr bool kSubnormals = false;

  // By columns. Codes of two quads of 16 columns: q and q + 2.
  static constexpr int kUnits = 2;
  template <class C>
  using Codes = std::conditional_t<C::kBits == 4, U, std::array<U, 2>>;
  template <class C>
  struct ColumnTable {};
  template <class C>
  [[gnu::always_inline]] static ColumnTable<C> column_table(const std::uint32_t*) {
    return {};
  }
  // q: 0 or 1. words: of one step and two neighbouring j, whose lines follow each other.
  template <class C>
  [[gnu::always_inline]] static Codes<C> column_codes(const std::uint32_t* words, int q) {
    if constexpr (C::kBits == 4) {
      // Halves of two lines: [j][pair][w]. Byte 0 or 1 (column 16w or 16w + 8), then byte 2 or 3, of the first pair and of the second.
      const U halves = two_halves<U>(words + 8 * q, words + kLanes + 8 * q);
      return Isa::permute_bytes(halves, byte_order([](int lane, int byte) {
                                  return lane / 8 * 32 + byte / 2 * 16 + lane % 4 * 4 + byte % 2 * 2 + lane / 4 % 2;
                                }));
    } else {
      // A line is [pair][2w + h]: bytes 0 and 2 of both pairs are the quad q, bytes 1 and 3 the quad q + 2.
      const auto line = [&](int j) __attribute__((always_inline)) {
        return Isa::permute_bytes(load<U>(words + (2 * j + q) * kLanes),
                                  byte_order([](int lane, int byte) { return byte / 2 * 32 + lane % 8 * 4 + byte % 2 * 2 + lane / 8; }));
      };
      return {line(0), line(1)};
    }
  }
  template <class C>
  [[gnu::always_inline]] static Weight column_weight(const Codes<C>& codes, const ColumnTable<C>&, int upper) {
    if constexpr (C::kBits == 4)
      return (upper == 0 ? codes : codes >> 4) & 0x0f0f0f0fu;
    else
      return upper == 0 ? low_halves(codes[0], codes[1]) : high_halves(codes[0], codes[1]);
  }

  // The same of a panel of codes (tile_codes.hpp), two vectors of columns at a time: quads in place, of 4-bit codes q beside q + 2.
  static constexpr bool kPairsHalves = false;
  template <class C>
  struct PairTable {};
  template <class C>
  [[gnu::always_inline]] static PairTable<C> pair_table(const std::uint32_t*) {
    return {};
  }
  template <class C>
  [[gnu::always_inline]] static void sort_pair(const std::uint32_t* words, std::uint32_t* out) {
    constexpr int kVectorWords = 2 * 4 * C::kWords;
#pragma GCC unroll 2
    for (int q = 0; q < 2; ++q) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const Codes<C> codes = column_codes<C>(words + v * kVectorWords, q);
        if constexpr (C::kBits == 4) {
          store(out + (2 * q + v) * kLanes, codes);
        } else {
          store(out + (2 * q + v) * kLanes, column_weight<C>(codes, {}, 0));
          store(out + (2 * q + 4 + v) * kLanes, column_weight<C>(codes, {}, 1));
        }
      }
    }
  }
  template <class C>
  [[gnu::always_inline]] static Weight pair_weight(const std::uint32_t* codes, const PairTable<C>&, int d, int v) {
    if constexpr (C::kBits == 4) {
      const U bits = load<U>(codes + (d % 2 * 2 + v) * kLanes);
      return (d < 2 ? bits : bits >> 4) & 0x0f0f0f0fu;
    } else {
      return load<U>(codes + (2 * d + v) * kLanes);
    }
  }

  [[gnu::always_inline]] static Sum dot(Sum sum, Weight w, U a) { return Isa::dot_u8_s8(sum, w, a); }
  template <class C>
  [[gnu::always_inline]] static F to_float(Sum sum) {
    return __builtin_convertvector(sum, F);
  }

  [[gnu::always_inline]] static void pack(Lanes<8>::U low, Lanes<8>::U high, std::uint32_t* dwords) {
    using Bytes = std::uint8_t __attribute__((vector_size(32)));
    store(dwords, __builtin_shufflevector((Bytes)low, (Bytes)high, 0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60));
  }

 private:
  // Where each byte of a vector comes from.
  template <class From>
  static constexpr U byte_order(From from) {
    U order{};
    for (int lane = 0; lane < kLanes; ++lane) {
      std::uint32_t four = 0;
      for (int byte = 0; byte < 4; ++byte) four |= static_cast<std::uint32_t>(from(lane, byte)) << (8 * byte);
      order[lane] = four;
    }
    return order;
  }
};

}  // namespace
}  // namespace billfish::cpu
