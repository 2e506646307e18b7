// SPDX-License-Identifier: Apache-2.0
// What a launch of the sm90 kernel passes besides the tensor maps of A and of the codes. Plain data.
#pragma once

#include <cstdint>

#include "cuda/sm90/shares.hpp"

namespace billfish::sm90 {

struct WgmmaArguments {
  const unsigned short* scales;
  const unsigned char* zeros;
  const void* bias;  // null: none
  void* c;
  std::uint64_t activations_descriptor;  // what a wgmma descriptor of activations says besides the address
  float* slots;                          // for sums, kSlotsOfBlock of every block; if they are values, zeros between launches
  unsigned* flags;                       // of slots: how many have yet to take a warp's sums; zeros between launches
  std::int64_t ldc;
  int zero_row_bytes;
  int m, n;
  int steps;               // k16 steps in K
  int splits;              // parts of K, each a block's of a cluster; 1: K is not split
  unsigned split_magic;    // x / splits = x * magic >> 16, for the small x of the exchange
  int tiles_m, tiles_n;    // along the columns, blocks abreast count as one
  Divisor by_band;         // by the tiles of kTokenTilesDeep rows of them
  Divisor by_last_height;  // by how many rows there are in the last band, if fewer
  Shares shares;           // of the first `shared_tiles` tiles; the others belong to one block each, taken in turn
  int shared_tiles;
  int group_steps;          // k16 steps in a group; per column: larger than `steps`
  unsigned group_magic;     // step / group_steps = umulhi(step, magic) + step * identity
  unsigned group_identity;  // 1 if group_steps == 1
  int pairs_shift;          // of Grain::pairs: a row of scales lasts 1 << pairs_shift pairs of steps
  int rows;                 // of scales that a stage brings: 0 if they are per column
  int per_column;
  int scale_bf16, bias_type, c_type;  // ElementType values; scale_bf16: scales are bf16
  int bias_permuted;
  int vector_store;  // C allows 16-byte stores
};

}  // namespace billfish::sm90
