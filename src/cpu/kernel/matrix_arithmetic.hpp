// SPDX-License-Identifier: Apache-2.0
// Arithmetic with registers that hold matrices: products of 16 rows of activations with 16 columns of weights. The weights are decoded as
// for dots, column vectors below each other: 16 of those are one matrix. Included by the kernels' translation units only.
//
//   registers 0-3  sums          a row a line, 16 columns
//             4-5  activations   a row a line, 16 dwords of k
//             6-7  weights       a dword of k a line, 16 columns
#pragma once

#include "cpu/kernel/activations.hpp"
#include "cpu/kernel/bf16_pairs.hpp"
#include "cpu/kernel/int8_quads.hpp"

namespace billfish::cpu {
namespace {

constexpr int kMatrices = 8, kMatrixLines = 16, kMatrixLine = 64;
constexpr int kMatrixWords = kMatrixLines * kMatrixLine / 4;
constexpr bool is_weights(int matrix) { return matrix >= 6; }

template <class Base>
struct Matrices : Base {
  static constexpr int kMatrixSteps = 16 / (Base::kSlots * 4);  // of weights
  static constexpr int kMatrixRows = kMatrixSteps * kStepRows;
  static constexpr int kChunkSteps = 4 * kMatrixSteps;  // a panel is 16 KB: what two tiles of rows need beside it stays in L1, too
};

// Activations are one bf16 each (kParts = 1), or the sum of two.
template <class Isa, int kParts>
struct Bf16Matrices : Matrices<Bf16Pairs<Isa, kParts>> {
  using F = typename Isa::F;
  using U = typename Isa::U;
  template <int kSums, int kA, int kWeights>
  [[gnu::always_inline]] static void add() {
    Isa::template add_bf16<kSums, kA, kWeights>();
  }
  // 32 activations -> a line of each part's matrix.
  [[gnu::always_inline]] static void pack_line(const float* values, const Quantized&, typename Isa::I&, std::uint32_t* line) {
    const F a = load<F>(values), b = load<F>(values + 16);
    const U high_a = round_to_bf16((U)a), high_b = round_to_bf16((U)b);
    store(line, upper_halves(high_a, high_b));
    if constexpr (kParts == 2)
      store(line + kMatrixWords, upper_halves(round_to_bf16((U)(a - (F)high_a)), round_to_bf16((U)(b - (F)high_b))));
  }

 private:
  // The upper half of every word of a, then of b.
  [[gnu::always_inline]] static U upper_halves(U a, U b) {
    using V = std::uint16_t __attribute__((vector_size(64)));
    return (U)__builtin_shufflevector((V)a, (V)b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43, 45, 47,
                                      49, 51, 53, 55, 57, 59, 61, 63);
  }
};

// Signed codes: zeros are subtracted when they are decoded. Of 8 bits with stored zeros that would be nine bits: 128 is subtracted then,
// and the rest of the zero after the sum.
template <class Isa>
struct Int8Matrices : Matrices<Int8Quads<Isa>> {
  using Base = Int8Quads<Isa>;
  using U = typename Isa::U;
  using I = typename Isa::I;
  static constexpr int kCentre = 128;
  static constexpr int kBeginWords = 0;

  template <class C>
  using ColumnTable = U;  // what is subtracted from the codes of every column
  template <class C>
  [[gnu::always_inline]] static U column_table(const std::uint32_t* zeros) {
    if constexpr (C::kBits == 4 && C::kZeros) return load<U>(zeros) * 0x01010101u;
    return splat<U>(std::uint32_t{C::kImpliedZero} * 0x01010101u);
  }
  template <class C>
  [[gnu::always_inline]] static U column_weight(const typename Base::template Codes<C>& codes, const U& zeros, int upper) {
    return Isa::subtract8(Base::template column_weight<C>(codes, {}, upper), zeros);
  }

  template <int kSums, int kA, int kWeights>
  [[gnu::always_inline]] static void add() {
    Isa::template add_s8<kSums, kA, kWeights>();
  }
  // 64 activations -> a line; what they are as integers is added to `sums`.
  [[gnu::always_inline]] static void pack_line(const float* values, const Quantized& q, I& sums, std::uint32_t* line) {
    using Bytes = std::int8_t __attribute__((vector_size(16)));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const I rounded = round_to_int(load<typename Isa::F>(values + 16 * i), q.inverse);
      sums += rounded;
      store(line + 4 * i, __builtin_convertvector(rounded, Bytes));
    }
  }
};

}  // namespace
}  // namespace billfish::cpu
