// SPDX-License-Identifier: Apache-2.0
// What a launch of the streaming kernel passes besides its tensor maps. Plain data.
#pragma once

#include <cstdint>

#include "cuda/sm90/shares.hpp"

namespace billfish::sm90 {

struct StreamArguments {
  const unsigned short* scales;
  const unsigned char* zeros;
  const void* bias;  // null: none
  void* c;
  float* workspace;  // a slot a block; all zeros between launches; null if no tile is shared
  std::int64_t ldc;
  int m, n;
  Shares shares;
  int zero_row_bytes;    // of stored zeros
  int group_steps;       // k16 steps of a group; per column: more than there are
  unsigned group_magic;  // step / group_steps = umulhi(step, magic) + step * identity
  unsigned group_identity;
  int rows;                                          // of scales an item
  int even_groups;                                   // steps of a group if items are whole groups: see scale_rows.hpp
  int slots, item_bytes, extra_bytes, zeros_offset;  // the ring in shared memory
  int whole_panels;                                  // A's map is {64, m, k / 64}: one copy an item
  int per_column;
  int scale_bf16, bias_type, c_type;  // ElementType values; scale_bf16: scales are bf16
  int bias_permuted;
  int vector_store;  // C allows 16-byte stores
};

}  // namespace billfish::sm90
