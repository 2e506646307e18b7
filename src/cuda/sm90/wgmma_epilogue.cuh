// SPDX-License-Identifier: Apache-2.0
// From whole sums to C: some tokens x 64 columns at a time pass through shared memory of the warpgroup's own, so that rows of C are written
// 16 bytes at a time.
#pragma once

#include "cuda/ptx/store_matrix.cuh"
#include "cuda/sm90/output.cuh"
#include "cuda/sm90/wgmma_consumer.cuh"

namespace billfish::sm90 {

template <class V>
struct Epilogue {
  static constexpr int kPanels = V::kConfig.tokens / 8;
  static constexpr int kStaged = staged_tokens(V::kConfig);

  const WgmmaArguments& args;
  Shared<V> shared;
  int m0, n0;             // of the tile
  int group, warp, lane;  // of warps, along the columns; within the warpgroup

  // A tile that is this block's alone.
  __device__ void store(const typename Consumer<V>::Accumulators& sums) const {
    constexpr int kCount = kPanels % 2 == 0 ? 2 : 1;  // panels at once
#pragma unroll
    for (int t = 0; t < V::kConfig.tiles; ++t) {
      float bias[2];
      load_bias(bias, t);
#pragma unroll
      for (int panel = 0; panel < kPanels; panel += kCount) {
        if (panel * 8 >= args.m - m0) continue;
        float whole[kCount * 4];  // a copy: ptxas serialises a wgmma whose sums change elsewhere
#pragma unroll
        for (int i = 0; i < kCount * 4; ++i) whole[i] = sums[t][panel * 4 + i] + bias[i / 2 % 2];
        if constexpr (kStaged > 0) {
          if (args.vector_store) {
            stage<kCount>(whole, panel % (kStaged / 8));
            const int end = (panel + kCount) * 8;
            if (end % kStaged == 0 || end == V::kConfig.tokens || end >= args.m - m0) {
              ptx::named_barrier(1 + group, 128);
              write_rows(t, (end - 1) / kStaged * kStaged, end);
              ptx::named_barrier(1 + group, 128);
            }
            continue;
          }
        }
        write_elements<kCount>(whole, panel, column_of(t));
      }
    }
  }

  // Some panels of m64 tile `t`, from `panel` on, without regard to others.
  template <int kCount>
  __device__ void store_panels(const float (&whole)[kCount * 4], int t, int panel) const {
    if constexpr (kStaged > 0) {
      if (args.vector_store) {
        stage<kCount>(whole, panel % (kStaged / 8));
        ptx::named_barrier(1 + group, 128);
        write_rows(t, panel * 8, (panel + kCount) * 8);
        ptx::named_barrier(1 + group, 128);
        return;
      }
    }
    write_elements<kCount>(whole, panel, column_of(t));
  }

  __device__ void load_bias(float (&bias)[2], int t) const {
    const int n = column_of(t) + lane / 4;
    bias[0] = n < args.n ? bias_of(args, n) : 0.0f;
    bias[1] = n + 8 < args.n ? bias_of(args, n + 8) : 0.0f;
  }

 private:
  // The first of the 16 columns that the lane has of an m64 tile.
  __device__ int column_of(int t) const { return n0 + (Consumer<V>::sub_block_of(group, warp, lane) + t) * 16; }

  // Row = token, eight 16-byte pieces, two of a warp's 8 columns each, piece p at p ^ (token % 8) against bank conflicts.
  template <int kCount>
  __device__ void stage(const float (&sums)[kCount * 4], int panel) const {
    const std::uint32_t base = shared.staging() + group * (kStaged * 128);
    constexpr int kAtOnce = kCount % 2 == 0 ? 2 : 1;
#pragma unroll
    for (int j = 0; j < kCount; j += kAtOnce) {
      std::uint32_t matrices[kAtOnce * 2];
#pragma unroll
      for (int i = 0; i < kAtOnce * 2; ++i) {
        const int at = (j + i / 2) * 4 + i % 2 * 2;
        matrices[i] = pack_pair(args.c_type, sums[at], sums[at + 1]);
      }
      const int token = (panel + j + lane / 16) * 8 + lane % 8;
      const int piece = warp * 2 + lane / 8 % 2;
      ptx::store_matrices_transposed(base + token * 128 + (piece ^ (token % 8)) * 16, matrices);
    }
  }

  // Tokens [begin, end) of the tile, which lie in shared memory where those from the last multiple of kStaged lie.
  __device__ void write_rows(int t, int begin, int end) const {
    const std::uint32_t base = shared.staging() + group * (kStaged * 128);
    const int piece = lane % 8;
    const int block = piece / 2;
    const int n = n0 + ((group * 4 + block) * V::kConfig.tiles + t) * 16 + piece % 2 * 8;
    end = min(end, args.m - m0);
    for (int row = begin + warp * 4 + lane / 8; row < end; row += 16) {
      const int token = row % kStaged;
      std::uint32_t words[4];
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {  // of columns, which quarter of a 64-column block goes with it: Consumer::sub_block_of
        constexpr int kWarps = V::kConfig.tiles < 4 ? 4 / V::kConfig.tiles : 1;  // that have a 64-column block
        const int from = block / kWarps * kWarps + (block + kWarps - pair % kWarps) % kWarps;
        const int place = from * 2 + piece % 2;
        asm volatile("ld.shared.b32 %0, [%1];" : "=r"(words[pair]) : "r"(base + token * 128 + (place ^ (token % 8)) * 16 + pair * 4));
      }
      auto* target = static_cast<unsigned short*>(args.c) + std::int64_t{m0 + row} * args.ldc + n;
      if (n + 8 <= args.n) {
        *reinterpret_cast<uint4*>(target) = make_uint4(words[0], words[1], words[2], words[3]);
      } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          if (n + i < args.n) target[i] = static_cast<unsigned short>(words[i / 2] >> (16 * (i % 2)));
        }
      }
    }
  }

  template <int kCount>
  __device__ void write_elements(const float (&sums)[kCount * 4], int panel, int column) const {
#pragma unroll
    for (int i = 0; i < kCount * 4; ++i) {
      const int token = m0 + panel * 8 + i / 4 * 8 + lane % 4 * 2 + i % 2;
      const int n = column + i / 2 % 2 * 8 + lane / 4;
      if (token < args.m && n < args.n) store_element(args.c, args.c_type, std::int64_t{token} * args.ldc + n, sums[i]);
    }
  }
};

}  // namespace billfish::sm90
