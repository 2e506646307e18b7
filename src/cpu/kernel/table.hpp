// SPDX-License-Identifier: Apache-2.0
// One row of the table in kernels.hpp from an arithmetic: every kernel it has, instantiated. Included by the kernels' translation units.
#pragma once

#include "cpu/kernel/activations.hpp"
#include "cpu/kernel/stream.hpp"
#include "cpu/kernel/tile.hpp"

namespace billfish::cpu {
namespace {

// Pack says how activations enter (it may round them); Arith says how they are multiplied.
template <class Isa, class Arith, class Pack>
constexpr Arithmetic arithmetic(const char* name) {
  Arithmetic a{};
  a.name = name;
  a.words_a_row_step = Arith::kSlots * Arith::kParts * 4;
  a.stream_rows = 4;
  a.tile_rows = Arith::kTileRows;
  a.chain_a_step = Arith::kQuantizes ? 0 : 16 * Arith::kParts;
  a.panel_words = static_cast<std::int64_t>(kChunkSteps) * Arith::kSlots * 4 * kBlockColumns;
  a.quantizes = Arith::kQuantizes;
  a.pack_stream[0] = pack_rows<Pack, Isa, 4>;
  a.pack_stream[1] = pack_rows<Pack, Isa, 8>;
  a.pack_tile = pack_rows<Pack, Isa, 0>;
  a.stream[0] = stream_blocks<Arith, Isa, Codec<4, false>>;
  a.stream[1] = stream_blocks<Arith, Isa, Codec<4, true>>;
  a.stream[2] = stream_blocks<Arith, Isa, Codec<8, false>>;
  a.stream[3] = stream_blocks<Arith, Isa, Codec<8, true>>;
  a.tile[0] = tile_block<Arith, Isa, Codec<4, false>>;
  a.tile[1] = tile_block<Arith, Isa, Codec<4, true>>;
  a.tile[2] = tile_block<Arith, Isa, Codec<8, false>>;
  a.tile[3] = tile_block<Arith, Isa, Codec<8, true>>;
  return a;
}

}  // namespace
}  // namespace billfish::cpu
