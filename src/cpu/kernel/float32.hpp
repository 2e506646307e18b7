// SPDX-License-Identifier: Apache-2.0
// Arithmetic in f32: every code becomes an exact float, every product one multiply-add. All instruction sets; with kRounded the
// activations are rounded to bf16 first. Included by the kernels' translation units only.
//
// Decode: a field of b bits at bit s of a word, under the exponent of 2^(23 - s), is the float 2^(23 - s) + code; subtracting
// 2^(23 - s) + zero leaves code - zero, exactly. One mask, one or, one subtraction, no shift but one by 16 for the odd k.
#pragma once

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

// A bf16 value as f32 bits, to nearest even; NaN stays NaN.
template <class U>
[[gnu::always_inline]] inline U round_to_bf16(U bits) {
  const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
  const U nan = (bits | 0x00400000u) & 0xffff0000u;
  const auto is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return is_nan ? nan : rounded;
}

// Every 4-bit code minus `zero`.
template <class F>
constexpr F code_table(int zero) {
  F table{};
  for (int i = 0; i < 16; ++i) table[i] = static_cast<float>(i - zero);
  return table;
}

template <class Isa, bool kRounded>
struct Float32 {
  static constexpr int kLanes = Isa::kLanes;
  using F = typename Lanes<kLanes>::F;
  using U = typename Lanes<kLanes>::U;
  using Weight = F;
  using Sum = F;
  using Partial = Sum;
  static constexpr int kChunkSteps = cpu::kChunkSteps;
  static constexpr int kPartialSteps = 0;
  static constexpr bool kJoinsHalves = false;
  static constexpr int kCentre = 0;
  static constexpr int kBeginWords = 0;
  static constexpr int kSlots = 4;  // dwords of A that meet one k pair of the packed order: k = 2p + slot % 2 + 8 * (slot / 2)
  static constexpr bool kSlotsOutside = false;
  static constexpr bool kByColumns = false;
  static constexpr int kParts = 1;
  static constexpr bool kQuantizes = false;
  static constexpr bool kZeroAfterSum = false;
  static constexpr bool kScalesPanel = true;  // the codes of a tile kernel are multiplied by their scales when they are decoded
  static constexpr bool kScreens = false;
  static constexpr bool kSubnormals = false;

  template <class C>
  struct Zero {
    F under[C::kFields];  // 2^(23 - s) + zero
  };

  static constexpr std::uint32_t magic(int bits, int field) { return static_cast<std::uint32_t>(127 + 23 - bits * field) << 23; }
  template <class C>
  static constexpr std::uint32_t mask(int field) {
    return ((1u << C::kBits) - 1u) << (C::kBits * field);
  }

  // zeros: eight, of the columns of one j, in panel order.
  template <class C>
  [[gnu::always_inline]] static Zero<C> zero(const std::uint32_t* zeros) {
    Zero<C> result;
#pragma GCC unroll 4
    for (int field = 0; field < C::kFields; ++field) {
      const F base = (F)splat<U>(magic(C::kBits, field));
      if constexpr (C::kZeros) {
        const U z = repeat<U, C::kWords>(C::kBits == 4 ? zeros + 4 * (field / 2) : zeros);
        result.under[field] = base + __builtin_convertvector((typename Lanes<kLanes>::I)z, F);
      } else {
        result.under[field] = base + static_cast<float>(C::kImpliedZero);
      }
    }
    return result;
  }

  struct Fields {
    U half[2];
  };
  template <class C, int kRows = 0>
  [[gnu::always_inline]] static Fields fields(U words, const Zero<C>&) {
    return {{words, words >> 16}};
  }
  template <class C>
  [[gnu::always_inline]] static Weight weight(const Fields& f, const Zero<C>& zero, int h, int slot) {
    const int field = 2 * h + slot / 2;
    const U bits = (f.half[slot % 2] & mask<C>(field)) | magic(C::kBits, field);
    return (F)bits - zero.under[field];
  }

  // The same by columns: a 4-bit code is looked up, by the low four bits of a lane, among 16 floats.
  static constexpr int kUnits = 4;
  template <class C>
  using Codes = U;
  // One k pair of 16 columns. words: of one step and two neighbouring j, whose lines follow each other.
  template <class C>
  [[gnu::always_inline]] static U column_codes(const std::uint32_t* words, int pair) {
    constexpr int kLinePairs = kLanes / C::kWords, kLines = 4 / kLinePairs;  // of one j and step
    const std::uint32_t* line = words + pair / kLinePairs * kLanes;
    return column_words<kLinePairs>(load<U>(line), load<U>(line + kLines * kLanes), pair);
  }
  template <class C>
  struct ColumnTable {
    F table, zero;
  };
  // zeros: of 16 columns, in panel order.
  template <class C>
  [[gnu::always_inline]] static ColumnTable<C> column_table(const std::uint32_t* zeros) {
    ColumnTable<C> result{code_table<F>(C::kZeros ? 0 : C::kImpliedZero), splat<F>(float{C::kImpliedZero})};
    if constexpr (C::kZeros) result.zero = __builtin_convertvector(load<typename Lanes<kLanes>::I>(zeros), F);
    return result;
  }
  template <class C>
  [[gnu::always_inline]] static Weight column_weight(U words, const ColumnTable<C>& of, int slot) {
    const std::uint32_t place = 16u * (slot % 2) + C::kBits * (slot / 2);
    if constexpr (C::kBits == 8) return __builtin_convertvector((typename Lanes<kLanes>::I)((words >> place) & 0xffu), F) - of.zero;
    const F code = Isa::lookup32(words >> (kSecondColumn<U> + place), of.table);
    return C::kZeros ? code - of.zero : code;
  }

  [[gnu::always_inline]] static Sum dot(Sum sum, Weight w, U a) { return Isa::multiply_add(w, (F)a, sum); }
  template <class C>
  [[gnu::always_inline]] static F to_float(Sum sum) {
    return sum;
  }

  // 16 activations in k order -> dwords[slot * 4 + p].
  template <int kBits>
  [[gnu::always_inline]] static void pack(Lanes<8>::F low, Lanes<8>::F high, std::uint32_t* dwords) {
    using V = Lanes<8>::U;
    const V even_odd_low = __builtin_shufflevector((V)low, (V)low, 0, 2, 4, 6, 1, 3, 5, 7);
    const V even_odd_high = __builtin_shufflevector((V)high, (V)high, 0, 2, 4, 6, 1, 3, 5, 7);
    store(dwords, kRounded ? round_to_bf16(even_odd_low) : even_odd_low);
    store(dwords + 8, kRounded ? round_to_bf16(even_odd_high) : even_odd_high);
  }
};

}  // namespace
}  // namespace billfish::cpu
