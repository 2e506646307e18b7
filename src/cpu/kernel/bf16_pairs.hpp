// SPDX-License-Identifier: Apache-2.0
// Arithmetic with the bf16 dot instruction: codes minus zeros are exact in bf16 and become pairs of k. Activations are one bf16 each
// (kPartsArg = 1), or the sum of two (2: f16 exactly, f32 to 2^-17 of itself). Included by the kernels' translation units only.
//
// 4-bit decode: a shift and a table of 32 bf16 values, looked up by the low five bits of every 16-bit lane. Without stored zeros bit 4 is
// the neighbour's, so the table repeats; with them the index is code - zero in five bits of two's complement.
// 8-bit decode: as Float32, then two floats, which have eight significant bits at most, become one pair of bf16.
#pragma once

#include <array>

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/float32.hpp"
#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

// bf16 of an integer of at most eight bits.
constexpr std::uint16_t small_bf16(int value) {
  if (value == 0) return 0;
  const int magnitude = value < 0 ? -value : value;
  int exponent = 0;
  while (magnitude >> (exponent + 1) != 0) ++exponent;
  const int mantissa = (magnitude << (7 - exponent)) & 0x7f;
  return static_cast<std::uint16_t>((value < 0 ? 0x8000 : 0) | (127 + exponent) << 7 | mantissa);
}

template <bool kZeros>
struct alignas(64) Bf16Table {
  std::uint16_t value[32];
  constexpr Bf16Table() : value() {
    for (int i = 0; i < 32; ++i) value[i] = small_bf16(kZeros ? (i < 16 ? i : i - 32) : i % 16 - 8);
  }
};

template <class Isa, int kPartsArg>
struct Bf16Pairs {
  static constexpr int kLanes = Isa::kLanes;
  using F = typename Lanes<kLanes>::F;
  using U = typename Lanes<kLanes>::U;
  using Weight = U;
  using Sum = F;
  using Partial = Sum;
  static constexpr int kChunkSteps = cpu::kChunkSteps;
  static constexpr int kPartialSteps = 0;
  static constexpr bool kJoinsHalves = false;
  static constexpr int kCentre = 0;
  static constexpr int kBeginWords = 0;
  static constexpr int kSlots = 2;  // k pairs (2p, 2p + 1) + 8 * slot
  static constexpr bool kSlotsOutside = false;
  static constexpr bool kByColumns = kPartsArg == 1;  // streams; of two parts they are as fast or faster by pairs
  static constexpr int kParts = kPartsArg;
  static constexpr bool kQuantizes = false;
  static constexpr bool kZeroAfterSum = false;
  static constexpr bool kScalesPanel = false;
  static constexpr bool kScreens = kParts == 2;  // the second part of tiny activations would be subnormal, of infinities NaN
  static constexpr int kScreenLow = -96, kScreenHigh = 96;
  static constexpr bool kSubnormals = false;
  using Wide = Float32<Isa, false>;

  struct NibbleZero {
    U bytes;  // of a word: the zeros of columns 0, 8, 0, 8
    U table;
  };
  template <class C>
  using Zero = std::conditional_t<C::kBits == 4, NibbleZero, typename Wide::template Zero<C>>;

  template <class C>
  [[gnu::always_inline]] static Zero<C> zero(const std::uint32_t* zeros) {
    if constexpr (C::kBits == 8) {
      return Wide::template zero<C>(zeros);
    } else {
      static constexpr Bf16Table<C::kZeros> kTable;
      NibbleZero result{U{}, load<U>(kTable.value)};
      if constexpr (C::kZeros) {
        const U pair = repeat<U, 4>(zeros) | (repeat<U, 4>(zeros + 4) << 8);
        result.bytes = pair | (pair << 16);
      }
      return result;
    }
  }

  struct Fields {
    U part[2];
  };
  template <class C, int kRows = 0>
  [[gnu::always_inline]] static Fields fields(U words, const Zero<C>& zero) {
    if constexpr (C::kBits == 4 && C::kZeros) {
      return {{Isa::subtract8(words & 0x0f0f0f0fu, zero.bytes), Isa::subtract8((words >> 4) & 0x0f0f0f0fu, zero.bytes)}};
    } else if constexpr (C::kBits == 4) {
      return {{words, words}};
    } else {
      return {{words, words >> 16}};
    }
  }
  template <class C>
  [[gnu::always_inline]] static Weight weight(const Fields& f, const Zero<C>& zero, int h, int slot) {
    if constexpr (C::kBits == 4 && C::kZeros) {
      return Isa::lookup16(h == 0 ? f.part[slot] : f.part[slot] >> 8, zero.table);
    } else if constexpr (C::kBits == 4) {
      const int place = 8 * h + 4 * slot;
      return Isa::lookup16(place == 0 ? f.part[0] : f.part[0] >> place, zero.table);
    } else {
      const typename Wide::Fields wide{{f.part[0], f.part[1]}};
      const U even = (U)Wide::template weight<C>(wide, zero, 0, 2 * slot);
      const U odd = (U)Wide::template weight<C>(wide, zero, 0, 2 * slot + 1);
      return (even >> 16) | odd;
    }
  }

  // The same by columns.
  static constexpr int kUnits = 4;
  template <class C>
  using Codes = U;
  template <class C>
  [[gnu::always_inline]] static U column_codes(const std::uint32_t* words, int pair) {
    return Wide::template column_codes<C>(words, pair);
  }
  template <class C>
  using ColumnTable = std::conditional_t<C::kBits == 4, NibbleZero, typename Wide::template ColumnTable<C>>;
  template <class C>
  [[gnu::always_inline]] static ColumnTable<C> column_table(const std::uint32_t* zeros) {
    if constexpr (C::kBits == 8) {
      return Wide::template column_table<C>(zeros);
    } else {
      static constexpr Bf16Table<C::kZeros> kTable;
      NibbleZero result{U{}, load<U>(kTable.value)};
      if constexpr (C::kZeros) result.bytes = load<U>(zeros) | (load<U>(zeros) << 16);
      return result;
    }
  }
  template <class C>
  [[gnu::always_inline]] static Weight column_weight(U words, const ColumnTable<C>& of, int slot) {
    if constexpr (C::kBits == 8) {
      const U even = (U)Wide::template column_weight<C>(words, of, 2 * slot);
      const U odd = (U)Wide::template column_weight<C>(words, of, 2 * slot + 1);
      return (even >> 16) | odd;
    } else {
      const U codes = words >> (kSecondColumn<U> + 4u * slot);
      return Isa::lookup16(C::kZeros ? Isa::subtract8(codes & 0x000f000fu, of.bytes) : codes, of.table);
    }
  }

  // The same of a panel of codes (tile_codes.hpp), two vectors of columns at a time: a vector of words of one k pair is all of four j,
  // column 16w of its words for the first vector, 16w + 8 for the second. 4-bit codes only.
  static constexpr bool kPairsHalves = true;
  template <class C>
  using PairTable = std::array<U, 2>;  // zeros
  template <class C>
  [[gnu::always_inline]] static PairTable<C> pair_table(const std::uint32_t* zeros) {
    if constexpr (!C::kZeros) return {};
    const U a = load<U>(zeros), b = load<U>(zeros + kLanes), even = even_quarters(a, b), odd = odd_quarters(a, b);
    return {even | (even << 16), odd | (odd << 16)};
  }
  template <class C>
  [[gnu::always_inline]] static void sort_pair(const std::uint32_t* words, std::uint32_t* out) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {  // pairs 2 * half and 2 * half + 1 of four j
      const U a = two_halves<U>(words + 8 * half, words + kLanes + 8 * half);
      const U b = two_halves<U>(words + 2 * kLanes + 8 * half, words + 3 * kLanes + 8 * half);
      store(out + 2 * half * kLanes, even_quarters(a, b));
      store(out + (2 * half + 1) * kLanes, odd_quarters(a, b));
    }
  }
  // What meets dword d of the activations in vector v.
  template <class C>
  [[gnu::always_inline]] static Weight pair_weight(const std::uint32_t* codes, const PairTable<C>& of, int d, int v) {
    static constexpr Bf16Table<C::kZeros> kTable;
    const int place = 8 * v + 4 * (d / 4);
    U bits = load<U>(codes + d % 4 * kLanes);
    if (place > 0) bits >>= place;
    return Isa::lookup16(C::kZeros ? Isa::subtract8(bits & 0x000f000fu, of[v]) : bits, load<U>(kTable.value));
  }

  [[gnu::always_inline]] static Sum dot(Sum sum, Weight w, U a) { return Isa::dot_bf16(sum, w, a); }
  template <class C>
  [[gnu::always_inline]] static F to_float(Sum sum) {
    return sum;
  }

  // Of every two bf16 values in upper halves one dword, the first in its lower half.
  [[gnu::always_inline]] static Lanes<4>::U pairs(Lanes<8>::U values) {
    return __builtin_shufflevector(values >> 16, values >> 16, 0, 2, 4, 6) | __builtin_shufflevector(values, values, 1, 3, 5, 7);
  }
  // 16 activations in k order -> dwords[(slot * kParts + part) * 4 + p].
  template <int kRepeat>
  [[gnu::always_inline]] static void pack(Lanes<8>::F a_low, Lanes<8>::F a_high, std::uint32_t* dwords) {
    using V = Lanes<8>::U;
#pragma GCC unroll 2
    for (int slot = 0; slot < kSlots; ++slot) {
      const Lanes<8>::F a = slot == 0 ? a_low : a_high;
      const V rounded = round_to_bf16((V)a);
      store(dwords + slot * kParts * 4, pairs(rounded));
      if constexpr (kParts == 2) store(dwords + (slot * kParts + 1) * 4, pairs(round_to_bf16((V)(a - (Lanes<8>::F)rounded))));
    }
  }
};

}  // namespace
}  // namespace billfish::cpu
