// SPDX-License-Identifier: Apache-2.0
// One row of the table in kernels.hpp from an arithmetic: every kernel it has, instantiated. Included by the kernels' translation units.
#pragma once

#include "cpu/kernel/activations.hpp"
#include "cpu/kernel/stream.hpp"
#include "cpu/kernel/tile.hpp"

namespace billfish::cpu {
namespace {

template <class Isa, class Arith>
constexpr Kernels common_facts(const char* name) {
  Kernels k{};
  k.name = name;
  k.words_a_row_step = Arith::kSlots * Arith::kParts * 4;
  k.chunk_steps = Arith::kChunkSteps;
  k.begin_words = Arith::kBeginWords;
  k.chain_a_step = Arith::kQuantizes ? 0 : 16 * Arith::kParts;
  k.quantizes = Arith::kQuantizes;
  k.sums_rows = Arith::kZeroAfterSum;
  k.screens = Arith::kScreens || Arith::kQuantizes;
  return k;
}

// Pack says how activations enter (it may round them); Arith says how they are multiplied.
template <class Isa, class Arith, class Pack>
constexpr Kernels stream_kernels(const char* name) {
  Kernels k = common_facts<Isa, Arith>(name);
  k.tile_rows = Arith::kStreamRows;
  k.blocks = kStreamBlocks;
  k.repeats = !Arith::kByColumns;
  k.odd_blocks = Arith::kByColumns;
  k.pack[0] = pack_rows < Pack, Isa, Arith::kByColumns ? 1 : 4 > ;
  k.pack[1] = pack_rows < Pack, Isa, Arith::kByColumns ? 1 : 8 > ;
  k.block[0] = stream_blocks<Arith, Isa, Codec<4, false>>;
  k.block[1] = stream_blocks<Arith, Isa, Codec<4, true>>;
  k.block[2] = stream_blocks<Arith, Isa, Codec<8, false>>;
  k.block[3] = stream_blocks<Arith, Isa, Codec<8, true>>;
  return k;
}

template <class Isa, class Arith, class Pack>
constexpr Kernels tile_kernels(const char* name) {
  Kernels k = common_facts<Isa, Arith>(name);
  k.tile_rows = Arith::kTileRows;
  k.blocks = 1;
  k.row_block = Arith::kRowBlock;
  k.panel_words = panel_words<Arith>();
  k.pack[0] = k.pack[1] = pack_rows<Pack, Isa, 0>;
  k.block[0] = tile_block<Arith, Isa, Codec<4, false>>;
  k.block[1] = tile_block<Arith, Isa, Codec<4, true>>;
  if constexpr (Arith::kTilesWideCodes) {
    k.block[2] = tile_block<Arith, Isa, Codec<8, false>>;
    k.block[3] = tile_block<Arith, Isa, Codec<8, true>>;
  }
  return k;
}

}  // namespace
}  // namespace billfish::cpu
