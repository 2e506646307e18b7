// SPDX-License-Identifier: Apache-2.0
// The AMX backend but for its instructions: which arithmetic each precision uses. Included by kernels_amx.cpp with the instructions, and by
// a test with an emulation of them, so that this code runs on every machine.
#pragma once

#include "cpu/kernel/matrix.hpp"
#include "cpu/kernel/matrix_activations.hpp"
#include "cpu/kernel/table_avx512.hpp"

namespace billfish::cpu {
namespace {

template <class Isa, class Arith>
constexpr Kernels matrix_kernels(const char* name, int blocks) {
  Kernels k = common_facts<Isa, Arith>(name);
  k.blocks = blocks;
  k.tile_rows = kMatrixLines;
  k.row_block = Arith::kRowBlock;
  k.matrix_steps = Arith::kMatrixSteps;
  k.panel_words = MatrixScratch<Arith>::kWords;
  k.pack[0] = k.pack[1] = pack_matrices<Arith, Isa>;
  k.block[0] = matrix_blocks<Arith, Isa, Codec<4, false>>;
  k.block[1] = matrix_blocks<Arith, Isa, Codec<4, true>>;
  k.block[2] = matrix_blocks<Arith, Isa, Codec<8, false>>;
  k.block[3] = matrix_blocks<Arith, Isa, Codec<8, true>>;
  return k;
}

// kAvx512: whose f32 tiles take activations that are not the sum of two bf16.
template <class Isa, const Arithmetic (&kAvx512)[kAvx512Arithmetics]>
struct ArithmeticsAmx {
  template <class Arith>
  static constexpr Arithmetic arithmetic(const char* name, const Kernels* rest) {
    return {matrix_kernels<Isa, Arith>(name, kFewRowsBlocks), matrix_kernels<Isa, Arith>(name, kManyRowsBlocks), kFewRows, rest};
  }
  template <class Base>
  struct Tuned : Tuned512<Isa, Base> {
    static constexpr int kPanelSteps = Base::kChunkSteps;
  };
  using Split = Tuned<Bf16Matrices<Isa, 2>>;
  using Rounded = Tuned<Bf16Matrices<Isa, 1>>;
  using Int8 = Tuned<Int8Matrices<Isa>>;
  // Blocks side by side: codes are read in long rows, and a panel's activations stay in L2 with the sums.
  static constexpr int kFewRowsBlocks = kStreamBlocks, kManyRowsBlocks = 8, kFewRows = 128;
  static constexpr Arithmetic kTable[kAmxArithmetics] = {
      arithmetic<Split>("bf16 matrices, activations hi + lo", &kAvx512[4].tile),
      arithmetic<Rounded>("bf16 matrices", nullptr),
      arithmetic<Int8>("int8 matrices", nullptr),
  };
};

}  // namespace
}  // namespace billfish::cpu
