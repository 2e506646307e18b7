// SPDX-License-Identifier: Apache-2.0
// A cluster's partial sums of a tile: every block sends its own straight to the block that owns the columns, which adds them in a fixed
// order and stores: one owner, one signal, no workspace.
#pragma once

#include "cuda/ptx/cluster.cuh"
#include "cuda/sm90/output.cuh"
#include "cuda/sm90/wgmma_consumer.cuh"

namespace billfish::sm90 {

template <class V>
struct ClusterSums {
  using Accumulators = typename Consumer<V>::Accumulators;
  static constexpr int kSubBlocks = V::kColumns / 16;
  static constexpr int kPanels = V::kConfig.tokens / 8;  // of 8 tokens: 16 columns x 8 tokens of partial sums lie together, 512 bytes
  static constexpr int kPanelFloats = 16 * 8;

  const WgmmaArguments& args;
  Shared<V> shared;
  const Work& work;

  __device__ int tokens() const { return min(V::kConfig.tokens, args.m - work.m0); }
  static __device__ int first_owned(const WgmmaArguments& args, int rank) {
    return static_cast<int>((kSubBlocks * rank + args.splits - 1) * args.split_magic >> 16);
  }
  // Blocks of columns that `rank` adds up, and how many bytes will arrive for them.
  static __device__ int owned(const WgmmaArguments& args, int rank) { return first_owned(args, rank + 1) - first_owned(args, rank); }
  static __device__ int expected_bytes(const WgmmaArguments& args, const Work& work, int rank) {
    const int pairs = (min(V::kConfig.tokens, args.m - work.m0) + 1) / 2;
    return args.splits * owned(args, rank) * pairs * 16 * 8;
  }

  // Sends this warp's sums to their owners. `source`: the sender's rank.
  __device__ void send(const Accumulators& sums, int sub_block, int source, int lane) const {
    const int rows = tokens();
#pragma unroll
    for (int t = 0; t < V::kConfig.tiles; ++t) {
      const int sub = sub_block + t;
      const int owner = sub * args.splits / kSubBlocks;
      const int local = sub - first_owned(args, owner);
      const int panels = (source * owned(args, owner) + local) * kPanels;
      const std::uint32_t target = ptx::map_shared(shared.sums() + (panels * kPanelFloats + lane / 4 * 8 + lane % 4 * 2) * 4, owner);
      const std::uint32_t signal = ptx::map_shared(shared.exchange(), owner);
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        if (panel * 8 + lane % 4 * 2 < rows) {
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            ptx::store_async(target + (panel * kPanelFloats + h * 64) * 4, sums[t][panel * 4 + h * 2], sums[t][panel * 4 + h * 2 + 1],
                             signal);
          }
        }
      }
    }
  }

  // Returns when all sums for this block's columns are here. All consumer threads.
  __device__ void receive() const { ptx::mbarrier_wait(shared.exchange(), 0); }

  // Adds what arrived, source by source, and writes this block's columns of C. All consumer threads.
  __device__ void add_and_store(int rank, int thread) const {
    const int sources = args.splits;
    const int mine = owned(args, rank);
    const int rows = tokens();
    const int first = work.n0 + first_owned(args, rank) * 16;
    const int per_panel = mine * 32;  // column, half of 8 tokens
    const int items = per_panel * ((rows + 7) / 8);
    for (int item = thread; item < items; item += V::kConfig.consumer_warps() * 32) {
      const int panel = item / per_panel;
      const int rest = item - panel * per_panel;
      const int column = rest / 2;
      const int token = panel * 8 + rest % 2 * 4;
      const int n = first + column;
      if (token >= rows || n >= args.n) continue;
      const int local = column / 16;
      const std::uint32_t offset = shared.sums() + ((local * kPanels + panel) * kPanelFloats + column % 16 * 8 + rest % 2 * 4) * 4;
      const int stride = mine * kPanels * kPanelFloats * 4;
      float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 8
      for (int source = 0; source < sources; ++source) {
        float4 part;
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(part.x), "=f"(part.y), "=f"(part.z), "=f"(part.w)
                     : "r"(offset + source * stride));
        sum.x += part.x;
        sum.y += part.y;
        sum.z += part.z;
        sum.w += part.w;
      }
      const float bias = bias_of(args, n);
      const std::int64_t at = std::int64_t{work.m0 + token} * args.ldc + n;
      const float values[4] = {sum.x + bias, sum.y + bias, sum.z + bias, sum.w + bias};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (token + i < rows) store_element(args.c, args.c_type, at + i * args.ldc, values[i]);
      }
    }
  }
};

}  // namespace billfish::sm90
