// SPDX-License-Identifier: Apache-2.0
// The seam between the CPU backend's host half and its kernels: plain argument structs, and one table of functions an instruction set.
// Called by run.cpp and plan.cpp; filled by kernels_scalar.cpp, _avx2, _avx512 and _amx.
//
// Words of this room. A *step* is one k block of 16 rows of Marlin bytes. A *chunk* is at most 16 steps of one group: the sums of a chunk
// start at zero, and are multiplied by the group's scales when they join the result. A *block* is 64 columns. A *panel* is one block of
// codes, decoded or only put into columns. *Panel order* is the order in which the columns of a block come out of the decode:
//     column 16w + 8h + j  ->  position 8j + 4h + w (4-bit), 8j + 2w + h (8-bit).
#pragma once

#include <cstdint>

#include "core/types.hpp"

namespace billfish::cpu {

constexpr int kBlockColumns = 64;
constexpr int kStepRows = 16;
constexpr int kChunkSteps = 16;    // 256 rows: sums of 8-bit codes times int8 stay below 2^24, so they are exact in f32
constexpr int kChunkPartials = 2;  // chunks of sums narrower than 32 bits are so many such sums (int8_pairs.hpp)
constexpr int kStreamBlocks = 24;  // blocks side by side that one call of a stream kernel takes at most: 12 KB of one row of 4-bit codes

struct Weights {
  const std::uint32_t* codes = nullptr;
  std::int64_t row_words = 0;  // words from one step to the next
  const std::uint32_t* zeros = nullptr;
  std::int64_t zero_row_words = 0;
  const void* scales = nullptr;
  std::int64_t scale_row = 0;  // scales a group
  ElementType scale_type = ElementType::f16;
  bool per_column = false;  // the order of the scales
  std::int64_t steps = 0, group_steps = 0;
};

// Rows of A, converted for a kernel. Rows come in tiles, cut by TileCut.
struct PackArgs {
  const void* a = nullptr;
  ElementType a_type = ElementType::f32;
  std::int64_t lda = 0;
  std::int64_t k = 0;
  const std::int32_t* perm = nullptr;         // null: rows of the weights are in A's order
  int first_row = 0, rows = 0, all_rows = 0;  // of this tile; of all tiles
  int tile = 0, tiles = 0;
  std::int64_t steps = 0, group_steps = 0;
  std::int64_t step_begin = 0, step_end = 0;  // what to convert: whole groups, or chunks of the only one if nothing is quantised
  int implicit_zero = 0;                      // what sums that begin at minus zero times a sum of activations take for it
  std::uint32_t* out = nullptr;               // of all tiles
  float* row_scales = nullptr;                // int8: [chunks][row_stride]
  float* row_sums = nullptr;                  // likewise: sums of the activations of a chunk as they are multiplied
  std::uint32_t* begins = nullptr;            // what partial sums begin with: [chunks][kChunkPartials][row_stride][begin_words]
  std::int64_t row_stride = 0;
  // [rows], set to 1 where a row holds what the arithmetic cannot take, by any of the threads that pack it; the caller clears it.
  std::uint8_t* unusual = nullptr;
};

// The first panel of codes of a block, in columns, which a tile kernel leaves for the next call of its thread.
struct ReadyPanel {
  std::int64_t block = -1;
  const std::uint32_t* panel = nullptr;
};

// Which blocks of codes a stream kernel asks for, counted from the one that it multiplies.
constexpr int kAheadSteps = 4;
constexpr int kRowsAskedTwice = 4;  // AVX-512, up to so many rows: `far`, too
struct CodesAhead {
  int near[kAheadSteps] = {1, 1, 1, 1};  // into L1: steps in turn
  int far = 0;                           // and into L2; 0: none
};

struct BlockArgs {
  Weights weights;
  std::int64_t block = 0;            // the first of `blocks`
  int blocks = 1;                    // side by side, up to Kernels::blocks
  std::int64_t next_block = 0;       // stream: where this thread probably goes next; prefetched towards the end
  CodesAhead ahead;                  // stream
  int rows = 0, tiles = 0;           // of the packed activations
  int tile_begin = 0, tile_end = 0;  // what to compute; C begins at tile_begin's first row (stream: all tiles)
  const std::uint32_t* a = nullptr;  // packed
  const float* row_scales = nullptr;
  const float* row_sums = nullptr;
  const std::uint32_t* begins = nullptr;
  std::int64_t row_stride = 0;
  std::uint32_t* panel = nullptr;  // tile: panel_words
  ReadyPanel* ready = nullptr;     // tile: read, and written for the next call
  float* sums = nullptr;           // [blocks][rows to compute][64], panel order
  const float* bias = nullptr;     // [blocks * 64], plain order, or null
  void* c = nullptr;               // of the first row and column
  ElementType c_type = ElementType::f32;
  std::int64_t ldc = 0;
  std::int64_t columns = 0;  // columns to store, of all blocks
};

// Rows are cut into tiles that differ by one row at most, the longer ones first.
struct TileCut {
  int each = 0, longer = 0;
  constexpr TileCut(int rows, int tiles) : each(rows / tiles), longer(rows % tiles) {}
  constexpr int begin(int tile) const { return tile * each + (tile < longer ? tile : longer); }
  constexpr int rows(int tile) const { return each + (tile < longer ? 1 : 0); }
};

using PackFn = void (*)(const PackArgs&);
// True unless a scale was not finite or beyond 2^119: then the sums may differ from the definition (infinity times a sum is not the sum of
// infinities), and the caller computes these columns again, exactly.
using BlockFn = bool (*)(const BlockArgs&);

// One way to do arithmetic with few rows or many: kernels for every weight type, indexed by WeightType.
struct Kernels {
  const char* name;          // for `explain`
  int words_a_row_step;      // packed words of A, a row and step
  bool repeats;              // 4 or 8 times, for each bit of a code: streams whose lanes are k pairs
  int blocks;                // side by side at most, that one call takes
  bool odd_blocks;           // streams by columns: no multiple of 8 of them
  int begin_words;           // of a row and partial sum, see PackArgs; 0: they begin at zero
  int tile_rows;             // rows of the largest tile
  int row_block;             // tile: rows of A in flight at most; their sums and activations of one panel stay in L2
  int matrix_steps;          // kernels whose registers hold matrices: steps of one, and tile_rows are its lines; else 0
  int chunk_steps;           // the most
  int chain_a_step;          // products that one f32 accumulator takes in a step; 0: integer sums
  std::int64_t panel_words;  // of one panel, of codes two; 0 for stream kernels
  bool quantizes;            // activations to int8: row_scales are needed
  bool sums_rows;            // zeros are subtracted after the sum: row_sums are needed
  bool screens;              // some activations are beyond it: `unusual` is needed
  PackFn pack[2];            // 4-bit, 8-bit weights
  BlockFn block[4];
};

struct Arithmetic {
  Kernels stream, tile;           // AMX: the same kernels, with more blocks and fewer of them side by side
  int stream_rows;                // up to so many rows the stream kernels are the faster ones
  const Kernels* rest = nullptr;  // for activations that `tile` screens
};

// Indexed by Precision. What stream kernels cannot take goes to the tile kernels, and what those cannot to `rest`.
// [3]: scalar and AVX2, int8 with 8-bit codes.
// [3], [4], [5], AVX-512: bf16, full and int8 where bf16 dots are slower than f32 multiply-adds; int8 streams up to fewer rows there.
// [6], AVX-512: bf16 with 8-bit codes where bf16 dots are fast.
// [4], [5], AVX2: full and bf16 for processors that multiply subnormal numbers as fast as others.
extern const Arithmetic kScalarArithmetic[4];
extern const Arithmetic kAvx2Arithmetic[6];
constexpr int kAvx512Arithmetics = 7, kAmxArithmetics = 3;
extern const Arithmetic kAvx512Arithmetic[kAvx512Arithmetics];
extern const Arithmetic kAmxOwnArithmetic[kAmxArithmetics];

}  // namespace billfish::cpu
