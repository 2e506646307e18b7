// SPDX-License-Identifier: Apache-2.0
// The inner loops of packing: one 16 (k) x 64 (n) tile, or several side by side. Called by codes.cpp; one table of them for every
// instruction set, all with the same results.
//
// What all formats are brought to are `strips`: rows of words in GPTQ order, 64 columns wide. Word r of a column holds rows
// k = r * 32 / bits .. of it, lowest field first. A tile is bits / 2 such word rows (2 or 4: 512 or 1024 bytes), in a plain GPTQ file
// they are read where they lie. Sources and checkpoint-order targets may lie at any address.
#pragma once

#include <cstdint>

namespace billfish::pack {

constexpr int kStripColumns = 64;
constexpr int kMaxTileWords = 256;  // words of a tile, 8-bit

struct TileKernels {
  const char* name;

  // `tiles` tiles side by side: word rows `row_bytes` apart <-> Marlin words, tile after tile.
  void (*pack)(int bits, const void* rows, std::int64_t row_bytes, std::uint32_t* target, std::int64_t tiles);
  void (*unpack)(int bits, const std::uint32_t* source, void* rows, std::int64_t row_bytes, std::int64_t tiles);

  // The rows order[0 .. count) of a strip in GPTQ order, into a tile's words; fields of rows count .. 15 become 0. count <= 16.
  void (*gather_gptq)(int bits, const void* strip, std::int64_t row_bytes, const std::int32_t* order, int count, std::uint32_t* words);
  // Likewise the rows 0 .. count of AWQ words (4-bit), `columns` columns wide: a multiple of 8, at most 64. Missing columns become 0.
  void (*gather_awq)(const void* strip, std::int64_t row_bytes, int count, int columns, std::uint32_t* words);
  // Likewise of one code a byte. Codes are cut to `bits`; returns whether any had more.
  bool (*gather_bytes)(int bits, const void* strip, std::int64_t row_bytes, const std::int32_t* order, int count, int columns,
                       std::uint32_t* words);
  // And back: rows 0 .. count of a tile's words as AWQ words, of `columns` columns.
  void (*scatter_awq)(const std::uint32_t* words, void* strip, std::int64_t row_bytes, int count, int columns);
  // Likewise as one code a byte.
  void (*scatter_bytes)(int bits, const std::uint32_t* words, void* strip, std::int64_t row_bytes, int count, int columns);
  // `rows` <= 64 rows of `words` words -> [words][64], the transposition; missing rows become 0.
  void (*transpose)(const void* source, std::int64_t row_bytes, int rows, std::int64_t words, std::uint32_t* target);
  void (*transpose_back)(const std::uint32_t* source, std::int64_t words, void* target, std::int64_t row_bytes, int rows);
};

extern const TileKernels scalar_tile_kernels;
extern const TileKernels avx2_tile_kernels;  // the scalar ones where the compiler has no AVX2
const TileKernels& best_tile_kernels();      // for this machine

}  // namespace billfish::pack
