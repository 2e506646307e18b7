// SPDX-License-Identifier: Apache-2.0
// A warp's share of an item, 32 columns x the item's K: words -> exact weights in registers -> mma.sync with the activations. At the end of
// a group its scale multiplies the f32 sums.
#pragma once

#include <cuda_fp16.h>

#include "cuda/ptx/load_shared.cuh"
#include "cuda/ptx/mma.cuh"
#include "cuda/sm90/stream_block.cuh"
#include "layout/marlin_scales.hpp"

namespace billfish::sm90 {

template <class V>
struct StreamLoop {
  using Codec = typename V::Codec;
  using Sums = float[V::kTiles][V::kTokenTiles][4];
  using Words = std::uint32_t[V::kTiles * Codec::kWords];    // of a lane and k16 step
  static constexpr int kPair = V::kTokenTiles == 1 ? 2 : 1;  // steps whose activations one ldmatrix brings
  using Tokens = std::uint32_t[kPair][V::kTokenTiles][2];

  const StreamArguments& args;
  unsigned warp, lane;                                     // of the team
  std::uint32_t codes_at, tokens_at, scales_at, zeros_at;  // of this lane, in slot 0

  __device__ StreamLoop(const StreamArguments& arguments, const StreamShared& shared, unsigned warp_of_team, unsigned lane_of_warp)
      : args(arguments),
        warp(warp_of_team),
        lane(lane_of_warp),
        codes_at(kept(shared.codes(0) + word_offset())),
        tokens_at(kept(shared.activations(0) + token_offset())),
        scales_at(
            kept(shared.scales(0) + (block() * 64 + lane / 4 * 8 + quarter() * 2) * 2)),  // a 64-column block: lane / 4's eight scales
        zeros_at(shared.zeros(0) + (block() * 8 + lane / 4) * 4) {}

  // Of the columns h = 0, 1 of a tile: the scale as stored, and with stored zeros what Decode wants.
  struct Columns {
    std::uint32_t scales[V::kTiles];
    std::uint32_t addends[V::kTiles][2];
    std::uint32_t in_place_addends[V::kTiles][2];
  };
  // The same as a row of the ring has it.
  struct Row {
    std::uint32_t scales[V::kTiles];
    std::uint32_t zeros[1];
  };

  // 64-column block of the tile and the warp's first 16 columns in it.
  __device__ unsigned block() const { return warp / 2; }
  __device__ unsigned quarter() const { return warp % 2 * V::kTiles; }

  __device__ void set_addends(Columns& columns, std::uint32_t word) const {
#pragma unroll
    for (int t = 0; t < V::kTiles; ++t) {
      // A zero takes bits of the addend that are 0 without it.
      const std::uint32_t pair = ptx::and_or(word >> (4 * (quarter() + t)), 0x000f000fu, Codec::addend(0));
      columns.addends[t][0] = __byte_perm(pair, 0, 0x1010);
      columns.addends[t][1] = __byte_perm(pair, 0, 0x3232);
#pragma unroll
      for (int h = 0; h < 2; ++h) columns.in_place_addends[t][h] = Codec::in_place_addend_of(columns.addends[t][h]);
    }
  }

  // Row `row` of the item.
  __device__ void load_row(Row& loaded, int slot, int row) const {
    ptx::load_shared(loaded.scales, scales_at + slot * args.extra_bytes + row * (kStreamColumns * 2));
    if constexpr (Codec::kZeros) ptx::load_shared(loaded.zeros, zeros_at + slot * args.extra_bytes + row * (kStreamColumns / 2));
  }
  __device__ void set(Columns& columns, const Row& row) const {
#pragma unroll
    for (int t = 0; t < V::kTiles; ++t) columns.scales[t] = row.scales[t];
    if constexpr (Codec::kZeros) set_addends(columns, row.zeros[0]);
  }

  // The only row of a matrix with per-column scales, whose order is another.
  __device__ void load_only_row(Columns& columns, int n0) const {
#pragma unroll
    for (int t = 0; t < V::kTiles; ++t) {
      const int n = n0 + static_cast<int>((warp * V::kTiles + t) * 16 + lane / 4);
      const unsigned low = n < args.n ? args.scales[layout::marlin_column_scale(n)] : 0;
      const unsigned high = n + 8 < args.n ? args.scales[layout::marlin_column_scale(n + 8)] : 0;
      columns.scales[t] = low | high << 16;
    }
    if constexpr (Codec::kZeros) {
      const int at = n0 / 64 + static_cast<int>(block());
      set_addends(columns, at * 32 < args.zero_row_bytes ? reinterpret_cast<const std::uint32_t*>(args.zeros)[at * 8 + lane / 4] : 0);
    }
  }

  static __device__ void clear(Sums& sums) {
#pragma unroll
    for (int t = 0; t < V::kTiles; ++t) {
#pragma unroll
      for (int j = 0; j < V::kTokenTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[t][j][i] = 0.0f;
      }
    }
  }

  // The item's products, not yet scaled: it lies in one group.
  __device__ void multiply(Sums& part, const Columns& columns, int slot) const {
    const std::uint32_t words_at = codes_at + slot * args.item_bytes, chunks_at = tokens_at + slot * args.item_bytes;
    clear(part);
    Words words[2][kPair];
#pragma unroll
    for (int i = 0; i < kPair; ++i) ptx::load_shared(words[0][i], words_at + i * V::kStepBytes);
#pragma unroll
    for (int s = 0; s < V::kSteps; s += kPair) {
      if (s + kPair < V::kSteps) {
#pragma unroll
        for (int i = 0; i < kPair; ++i) ptx::load_shared(words[(s / kPair + 1) % 2][i], words_at + (s + kPair + i) * V::kStepBytes);
      }
      Tokens tokens;
      load_tokens(tokens, chunks_at, s);
#pragma unroll
      for (int i = 0; i < kPair; ++i) multiply_step(part, words[s / kPair % 2][i], columns, tokens[i]);
    }
  }

  // Adds the item's products, scaled: groups end inside it. A group is kGroupSteps and scales are of the activations' type; 0: of any
  // number and either type, and after every step the next one's row is looked up.
  template <int kGroupSteps>
  __device__ void multiply_groups(Sums& sums, int slot, int first_step = 0) const {
    constexpr bool kAny = kGroupSteps == 0;
    constexpr int kRun = kAny ? 1 : kGroupSteps;
    // Of 16 tokens not all: the sums of two groups at a time are more registers than there are.
    constexpr int kUnroll = kAny ? 2 * kPair : V::kTokenTiles == 1 || kGroupSteps == 2 ? V::kSteps : 4;
    static_assert(V::kSteps % kRun == 0 && V::kSteps % (2 * kPair) == 0 && kUnroll % kRun == 0);
    const std::uint32_t words_at = codes_at + slot * args.item_bytes, chunks_at = tokens_at + slot * args.item_bytes;
    const int first_row = kAny ? row_of(args, first_step) : 0;
    Words words[2][kPair];
    Tokens tokens;
    Row row;
    Columns columns;
    Sums part;
#pragma unroll
    for (int i = 0; i < kPair; ++i) ptx::load_shared(words[0][i], words_at + i * V::kStepBytes);
    load_row(row, slot, 0);
    int at = 0, next = 0;
    if (kAny) {
      set(columns, row);
      clear(part);
    }
#pragma unroll(kUnroll)
    for (int s = 0; s < V::kSteps; ++s) {
      if (s % kPair == 0) {
        if (s + kPair < V::kSteps) {
#pragma unroll
          for (int i = 0; i < kPair; ++i) ptx::load_shared(words[(s / kPair + 1) % 2][i], words_at + (s + kPair + i) * V::kStepBytes);
        }
        load_tokens(tokens, chunks_at, s);
      }
      if (!kAny && s % kRun == 0) {
        set(columns, row);
        clear(part);
      }
      if (s % kRun == 0 && s + kRun < V::kSteps) {
        next = kAny ? row_of(args, first_step + s + 1) - first_row : s / kRun + 1;
        load_row(row, slot, next);
      }
      multiply_step(part, words[s / kPair % 2][s % kPair], columns, tokens[s % kPair]);
      if (kAny && next == at && s + 1 < V::kSteps) continue;
      if ((s + 1) % kRun == 0) fold<!kAny>(sums, part, columns);
      if (kAny) {
        set(columns, row);
        clear(part);
        at = next;
      }
    }
  }

  // kKnownType: scales are of the activations' type.
  template <bool kKnownType>
  __device__ void fold(Sums& sums, const Sums& part, const Columns& columns) const {
#pragma unroll
    for (int t = 0; t < V::kTiles; ++t) {
      const float scale[2] = {scale_value<kKnownType>(columns.scales[t] & 0xffffu), scale_value<kKnownType>(columns.scales[t] >> 16)};
#pragma unroll
      for (int j = 0; j < V::kTokenTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[t][j][i] = __fmaf_rn(part[t][j][i], scale[i / 2], sums[t][j][i]);
      }
    }
  }

 private:
  // A shuffle, because ptxas would rather work an address out again for every item than spend a register on it.
  __device__ std::uint32_t kept(std::uint32_t value) const { return __shfl_sync(~0u, value, lane); }

  template <bool kKnownType>
  __device__ float scale_value(unsigned bits) const {
    const bool is_bf16 = kKnownType ? V::kBf16 : args.scale_bf16 != 0;
    return is_bf16 ? __uint_as_float(bits << 16) : __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
  }

  // Of this lane, in an item's codes.
  __device__ std::uint32_t word_offset() const {
    return block() * (128 * Codec::kBits) + lane * (4 * Codec::kBits) + quarter() * (4 * Codec::kWords);
  }

  // Activations [tokens][64 k] with 128-byte swizzle: chunk c (8 k) of token r lies at c ^ (r % 8). Of the row and chunk whose address this
  // lane brings to ldmatrix; the bits above chunk 1 are free for an exclusive or.
  __device__ std::uint32_t token_offset() const {
    const unsigned row = V::kTokenTiles == 1 ? lane % 8 : lane / 16 * 8 + lane % 8;
    const unsigned chunk = V::kTokenTiles == 1 ? lane / 8 : lane / 8 % 2;
    return row * 128 + (chunk ^ (lane % 8)) * 16;
  }
  __device__ void load_tokens(Tokens& tokens, std::uint32_t chunks_at, int step) const {
    const std::uint32_t at = (chunks_at ^ (step % 4 * 32)) + step / 4 * (V::kConfig.tokens * 128);
    std::uint32_t r[4];
    if constexpr (V::kTokenTiles == 1) {
      ptx::load_matrices(r, at);
      tokens[0][0][0] = r[0], tokens[0][0][1] = r[1], tokens[1][0][0] = r[2], tokens[1][0][1] = r[3];
    } else {
#pragma unroll
      for (int j = 0; j < V::kTokenTiles; j += 2) {
        ptx::load_matrices(r, at + j * 1024);
        tokens[0][j][0] = r[0], tokens[0][j][1] = r[1], tokens[0][j + 1][0] = r[2], tokens[0][j + 1][1] = r[3];
      }
    }
  }

  __device__ void multiply_step(Sums& part, const Words& words, const Columns& columns,
                                const std::uint32_t (&tokens)[V::kTokenTiles][2]) const {
#pragma unroll
    for (int t = 0; t < V::kTiles; ++t) {
      std::uint32_t a[4];
      if constexpr (Codec::kZeros && Codec::kInPlace) {
        Codec::block_in_place(words + t, columns.addends[t][0], columns.addends[t][1], columns.in_place_addends[t][0],
                              columns.in_place_addends[t][1], a);
      } else {
        Codec::block(words + t * Codec::kWords, columns.addends[t][0], columns.addends[t][1], a);
      }
#pragma unroll
      for (int j = 0; j < V::kTokenTiles; ++j) ptx::mma_m16n8k16<V::kBf16>(part[t][j], a, tokens[j][0], tokens[j][1]);
    }
  }
};

}  // namespace billfish::sm90
