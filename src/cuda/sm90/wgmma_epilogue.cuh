// SPDX-License-Identifier: Apache-2.0
// From accumulators to C. In a cluster every block sends its partial sums straight to the block that owns the columns, which adds them in a
// fixed order: one owner, one signal, no workspace. Else a block that shares a tile with others leaves its sums in the workspace, or adds
// what the others left (Chunks); whole sums go through shared memory, so that rows of C are written 16 bytes at a time.
#pragma once

#include "cuda/ptx/cluster.cuh"
#include "cuda/ptx/flag.cuh"
#include "cuda/ptx/store_matrix.cuh"
#include "cuda/sm90/output.cuh"
#include "cuda/sm90/wgmma_consumer.cuh"

namespace billfish::sm90 {

template <class V>
struct Epilogue {
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

  // To the block's slot of the workspace, for the block that has the end of the tile.
  __device__ void leave(const Accumulators& sums, unsigned block, int thread) const {
    float* const slot = Chunks<V>::slot_of(args, block) + thread * 4;
    const int rows = tokens();
#pragma unroll
    for (int t = 0; t < V::kConfig.tiles; ++t) {
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        const float* const s = &sums[t][panel * 4];
        if (panel * 8 < rows) {
          *reinterpret_cast<float4*>(slot + (t * kPanels + panel) * kThreads * 4) = make_float4(s[0], s[1], s[2], s[3]);
        }
      }
    }
    ptx::fence_async_proxy();
    ptx::named_barrier(kAllConsumers, kThreads);
    if (thread == 0) ptx::set_flag(Chunks<V>::flag_of(args, block));
  }

  // A tile of which this block has the end, with what `helpers` blocks left of it, to C. Some tokens x 64 columns at a time pass through
  // shared memory of the warpgroup's own.
  __device__ void store(const Accumulators& sums, int helpers, Ring<V>& ring, int group, int warp, int lane) const {
    const int sub = Consumer<V>::sub_block_of(group, warp, lane);
#pragma unroll
    for (int t = 0; t < V::kConfig.tiles; ++t) {
      const int column = work.n0 + (sub + t) * 16;
      const float bias[2] = {column + lane / 4 < args.n ? bias_of(args, column + lane / 4) : 0.0f,
                             column + 8 + lane / 4 < args.n ? bias_of(args, column + 8 + lane / 4) : 0.0f};
#pragma unroll
      for (int panel = 0; panel < kPanels; panel += kAtOnce) {
        float whole[kAtOnce * 4];  // a copy: ptxas serialises a wgmma whose sums change elsewhere
#pragma unroll
        for (int i = 0; i < kAtOnce * 4; ++i) whole[i] = sums[t][panel * 4 + i] + bias[i / 2 % 2];
        if (panel * 8 < tokens()) add_sums(whole, helpers, ring, (group * 4 + warp) * 32 + lane);
        if constexpr (kStaged > 0) {
          if (args.vector_store) {
            stage(whole, panel % (kStaged / 8), group, warp, lane);
            if ((panel + kAtOnce) * 8 % kStaged == 0) {
              ptx::named_barrier(1 + group, 128);
              write_part(t, panel * 8 / kStaged, group, warp * 32 + lane);
              ptx::named_barrier(1 + group, 128);
            }
            continue;
          }
        }
        write_elements(whole, panel, column, lane);
      }
    }
  }

 private:
  static constexpr int kThreads = Chunks<V>::kThreads;
  static constexpr int kAtOnce = Chunks<V>::kAtOnce;
  static constexpr int kAllConsumers = 15;  // a named barrier
  static constexpr int kStaged = staged_tokens(V::kConfig);

  // Adds a chunk of every helper, in their order.
  __device__ void add_sums(float (&whole)[kAtOnce * 4], int helpers, Ring<V>& ring, int thread) const {
#pragma unroll 1
    for (; helpers > 0; --helpers) {
      ptx::mbarrier_wait(shared.full(ring.slot), ring.parity);
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        float4 part;
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(part.x), "=f"(part.y), "=f"(part.z), "=f"(part.w)
                     : "r"(shared.slot(ring.slot) + (i * kThreads + thread) * 16));
        whole[i * 4] += part.x, whole[i * 4 + 1] += part.y, whole[i * 4 + 2] += part.z, whole[i * 4 + 3] += part.w;
      }
      ptx::fence_loads_before_copies();
      __syncwarp();
      shared.release(ring.slot, thread % 32);
      ring.advance();
    }
  }

  // Row = token, eight 16-byte chunks, two of a warp's 8 columns each, chunk c at c ^ (token % 8) against bank conflicts.
  __device__ void stage(const float (&sums)[kAtOnce * 4], int panel, int group, int warp, int lane) const {
    const std::uint32_t base = shared.staging() + group * (kStaged * 128);
#pragma unroll
    for (int j = 0; j < kAtOnce; j += 2) {
      std::uint32_t matrices[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = (j + i / 2) * 4 + i % 2 * 2;
        matrices[i] = pack_pair(args.c_type, sums[at], sums[at + 1]);
      }
      const int token = (panel + j + lane / 16) * 8 + lane % 8;
      const int chunk = warp * 2 + lane / 8 % 2;
      ptx::store_matrices_transposed(base + token * 128 + (chunk ^ (token % 8)) * 16, matrices);
    }
  }

  __device__ void write_part(int t, int part, int group, int thread) const {
    const std::uint32_t base = shared.staging() + group * (kStaged * 128);
    const int chunk = thread % 8;
    const int block = chunk / 2;
    const int n = work.n0 + ((group * 4 + block) * V::kConfig.tiles + t) * 16 + chunk % 2 * 8;
    const int rows = min(kStaged, args.m - work.m0 - part * kStaged);
    for (int token = thread / 8; token < rows; token += 16) {
      std::uint32_t words[4];
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {  // of columns, which quarter of a 64-column block goes with it: Consumer::sub_block_of
        constexpr int kWarps = V::kConfig.tiles < 4 ? 4 / V::kConfig.tiles : 1;  // that have a 64-column block
        const int from = block / kWarps * kWarps + (block + kWarps - pair % kWarps) % kWarps;
        const int place = from * 2 + chunk % 2;
        asm volatile("ld.shared.b32 %0, [%1];" : "=r"(words[pair]) : "r"(base + token * 128 + (place ^ (token % 8)) * 16 + pair * 4));
      }
      auto* target = static_cast<unsigned short*>(args.c) + std::int64_t{work.m0 + part * kStaged + token} * args.ldc + n;
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

  __device__ void write_elements(const float (&sums)[kAtOnce * 4], int panel, int column, int lane) const {
#pragma unroll
    for (int i = 0; i < kAtOnce * 4; ++i) {
      const int token = work.m0 + panel * 8 + i / 4 * 8 + lane % 4 * 2 + i % 2;
      const int n = column + i / 2 % 2 * 8 + lane / 4;
      if (token < args.m && n < args.n) store_element(args.c, args.c_type, std::int64_t{token} * args.ldc + n, sums[i]);
    }
  }
};

}  // namespace billfish::sm90
