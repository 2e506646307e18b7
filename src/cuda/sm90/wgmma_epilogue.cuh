// SPDX-License-Identifier: Apache-2.0
// From whole sums to C. A tile that is one block's alone lies in shared memory, rows of 64 columns, until the copy engine has written it:
// the block goes on with its next tile meanwhile. Chunks of a tile that blocks share go through the same memory, written by threads.
#pragma once

#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/ptx/elect.cuh"
#include "cuda/ptx/matrix.cuh"
#include "cuda/sm90/output.cuh"
#include "cuda/sm90/wgmma_consumer.cuh"

namespace billfish::sm90 {

template <class V>
struct Epilogue {
  using Accumulators = typename Consumer<V>::Accumulators;
  static constexpr int kTiles = V::kConfig.tiles;
  static constexpr int kPanels = V::kConfig.tokens / 8;
  static constexpr int kStaged = staged_tokens(V::kConfig);
  static constexpr int kAtOnce = Chunks<V>::kAtOnce;  // panels of a chunk
  using Chunk = float[kAtOnce * 4];

  const WgmmaArguments& args;
  const CUtensorMap* c_map;  // boxes of kStaged tokens x 64 columns
  Shared<V> shared;
  int m0, n0;             // of the tile
  int group, warp, lane;  // of warps, along the columns; within the warpgroup

  // A tile that is this block's alone. Straight code for what is nearly always so; the rest is a loop, because a tile's end is run once,
  // and then instructions are slower to fetch than to execute.
  __device__ void store(const Accumulators& sums) const {
    if constexpr (kStaged > 0) {
      if (is_staged()) {
        send(sums);
        return;
      }
    }
    const int chunks = kTiles * Chunks<V>::used(args.m - m0);
    constexpr int kUnroll = kStaged > 0 ? 1 : kTiles * Chunks<V>::kOfPart;
#pragma unroll kUnroll
    for (int chunk = 0; chunk < chunks; ++chunk) {
      Chunk whole;
      begin(whole, sums, at(chunk));
      end(whole, at(chunk));
    }
  }

  // Which chunk of which m64 tile a number means.
  struct At {
    int t, i;
  };
  __device__ At at(int chunk) const {
    static_assert(kTiles <= 2);
    const int used = Chunks<V>::used(args.m - m0), t = chunk >= used ? 1 : 0;
    return {t, chunk - t * used};
  }

  // This block's sums of a chunk, and the bias.
  __device__ void begin(Chunk& whole, const Accumulators& sums, At at) const {
    float bias[2];
    load_bias(bias, at.t);
    select(whole, sums, at.t * Chunks<V>::kOfPart + at.i);
#pragma unroll
    for (int j = 0; j < kAtOnce * 4; ++j) whole[j] += bias[j / 2 % 2];
  }
  // To C.
  __device__ void end(const Chunk& whole, At at) const {
    if constexpr (kStaged > 0) {
      if (is_staged()) {
        const std::uint32_t place = place_of(at.t);
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) stage(&whole[j * 4], place, j);
        ptx::named_barrier(1 + group, 128);
        write_chunk(at.t, at.i * kAtOnce * 8);
        ptx::named_barrier(1 + group, 128);
        return;
      }
    }
    write_elements(whole, at.i * kAtOnce, column_of(at.t));
  }

  // Before staging memory is written again by all of a warpgroup.
  __device__ void await_staging() const {
    if constexpr (kStaged > 0) {
      await_stores(warp);
      ptx::named_barrier(1 + group, 128);
    }
  }
  // Before the block ends.
  static __device__ void await_stores(int warp) {
    if constexpr (kStaged > 0) {
      if (warp == 0 && ptx::elect_thread()) ptx::wait_for_stores_to_read();
    }
  }

 private:
  // Tiles go to C through shared memory, by the copy engine where C allows 16-byte stores.
  __device__ bool is_staged() const { return args.c_type != kF32; }

  // The registers have no indices at run time. A bit says which chunk, behind an asm, because the compiler would put the number that a
  // chunk's is compared with in place of the chunk's, and all sums into memory.
  static __device__ void select(Chunk& chunk, const Accumulators& sums, int number) {
    unsigned wanted = 1u << number;
    asm volatile("" : "+r"(wanted));
#pragma unroll
    for (int at = 0; at < kTiles * Chunks<V>::kOfPart; ++at) {
#pragma unroll
      for (int j = 0; j < kAtOnce * 4; ++j) {
        const float sum = sums[at / Chunks<V>::kOfPart][at % Chunks<V>::kOfPart * (kAtOnce * 4) + j];
        if (at == 0 || (wanted >> at & 1u) != 0) chunk[j] = sum;
      }
    }
  }

  __device__ void load_bias(float (&bias)[2], int t) const {
    const int n = column_of(t) + lane / 4;
    bias[0] = n < args.n ? bias_of(args, n) : 0.0f;
    bias[1] = n + 8 < args.n ? bias_of(args, n + 8) : 0.0f;
  }

  // All tokens, those beyond M too: the copy engine leaves them out.
  __device__ void send(const Accumulators& sums) const {
    float bias[kTiles][2];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) load_bias(bias[t], t);
#pragma unroll
    for (int first = 0; first < V::kConfig.tokens; first += kStaged) {
      if (first >= args.m - m0) break;
      await_staging();
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const std::uint32_t place = place_of(t);
#pragma unroll
        for (int panel = 0; panel < kStaged / 8; ++panel) {
          float whole[4];  // a copy: ptxas serialises a wgmma whose sums change elsewhere
#pragma unroll
          for (int i = 0; i < 4; ++i) whole[i] = sums[t][(first / 8 + panel) * 4 + i] + bias[t][i / 2];
          stage(whole, place, panel);
        }
      }
      ptx::fence_before_copies();
      ptx::named_barrier(1 + group, 128);
      if (!args.vector_store) {
#pragma unroll 1
        for (int t = 0; t < kTiles; ++t) write_rows(t, first);
      } else if (warp == 0 && ptx::elect_thread()) {
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          const int box = group * kTiles + i;
          ptx::tensor_store(c_map, n0 + box * 64, m0 + first, box_of(box));
        }
        ptx::commit_stores();
      }
    }
  }

  // The first of the 16 columns that the lane has of an m64 tile.
  __device__ int column_of(int t) const { return n0 + (Consumer<V>::sub_block_of(group, warp, lane) + t) * 16; }

  // Staged: 64 columns of a token are eight pieces of 16 bytes, piece p at p ^ (token % 8), which is how the copy engine reads them, too.
  __device__ std::uint32_t box_of(int box) const { return shared.staging() + box * (kStaged * 128); }

  // Of an 8 x 8 matrix's 8 columns of C, two after two come from another lane's quarter of the 64-column block (Consumer::sub_block_of).
  // When it is transposed, a lane has two columns of a token: where its word of a panel's first 8 columns lies.
  __device__ std::uint32_t place_of(int t) const {
    const int pair = lane % 4, token = lane / 4;
    const int sub_block = Consumer<V>::sub_block_of(group, warp, pair * 8) + t;
    return box_of(sub_block / 4) + token * 128 + ((sub_block % 4 * 2) ^ token) * 16 + pair * 4;
  }

  // 16 columns x 8 tokens.
  __device__ void stage(const float* sums, std::uint32_t place, int panel) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const std::uint32_t word = ptx::transpose_matrix(pack_pair(args.c_type, sums[h * 2], sums[h * 2 + 1]));
      asm volatile("st.shared.b32 [%0], %1;" ::"r"((place ^ (h * 16)) + panel * 1024), "r"(word) : "memory");
    }
  }

  // A chunk of m64 tile `t`, whose first token is `begin` and lies first in staging memory. A lane has 16 bytes of a row.
  __device__ void write_chunk(int t, int begin) const {
    const int end = min(kAtOnce * 8, args.m - m0 - begin);
    const int piece = lane % 8;
    const int n = column_of_tile(t, piece * 8);
    for (int token = warp * 4 + lane / 8; token < end; token += 16) {
      uint4 words;
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                   : "r"(staged(t, token, piece * 8)));
      unsigned short* const target = row_of(begin + token) + n;
      if (args.vector_store && n + 8 <= args.n) {
        *reinterpret_cast<uint4*>(target) = words;
      } else {
        const std::uint32_t all[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          if (n + i < args.n) target[i] = static_cast<unsigned short>(all[i / 2] >> (16 * (i % 2)));
        }
      }
    }
  }

  // The tokens of m64 tile `t` that are staged, where rows of C may begin anywhere: a lane has an element of each half of a row, and a warp
  // writes 64 bytes side by side.
  __device__ void write_rows(int t, int begin) const {
    const int end = min(kStaged, args.m - m0 - begin);
    const int n[2] = {column_of_tile(t, lane), column_of_tile(t, 32 + lane)};
#pragma unroll 2
    for (int token = warp; token < end; token += 4) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        unsigned short element;
        asm volatile("ld.shared.u16 %0, [%1];" : "=h"(element) : "r"(staged(t, token, half * 32 + lane)));
        if (n[half] < args.n) row_of(begin + token)[n[half]] = element;
      }
    }
  }

  // Of the 64 columns of m64 tile `t`, which are the four warps': one in C, and where it lies of a staged token.
  __device__ int sub_block_of_tile(int t, int column) const { return (group * 4 + column / 16) * kTiles + t; }
  __device__ int column_of_tile(int t, int column) const { return n0 + sub_block_of_tile(t, column) * 16 + column % 16; }
  __device__ std::uint32_t staged(int t, int token, int column) const {
    const int sub_block = sub_block_of_tile(t, column);
    return box_of(sub_block / 4) + token * 128 + ((sub_block % 4 * 2 + column % 16 / 8) ^ (token % 8)) * 16 + column % 8 * 2;
  }
  __device__ unsigned short* row_of(int token) const { return static_cast<unsigned short*>(args.c) + std::int64_t{m0 + token} * args.ldc; }

  __device__ void write_elements(const Chunk& sums, int panel, int column) const {
#pragma unroll
    for (int i = 0; i < kAtOnce * 4; ++i) {
      const int token = m0 + panel * 8 + i / 4 * 8 + lane % 4 * 2 + i % 2;
      const int n = column + i / 2 % 2 * 8 + lane / 4;
      if (token < args.m && n < args.n) store_element(args.c, args.c_type, std::int64_t{token} * args.ldc + n, sums[i]);
    }
  }
};

}  // namespace billfish::sm90
