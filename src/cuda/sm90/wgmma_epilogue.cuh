// SPDX-License-Identifier: Apache-2.0
// From accumulators to C, two ways. `exchange`: every block of a cluster (and every warpgroup that takes turns along K) sends its partial
// sums straight to the block that owns the columns, which adds them in a fixed order: one owner, one signal, no workspace. `store`: one
// block has the whole sum; it goes through shared memory so that rows of C are written 16 bytes at a time.
#pragma once

#include "cuda/ptx/cluster.cuh"
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
    return args.splits * V::kConfig.groups_k * owned(args, rank) * pairs * 16 * 8;
  }

  // Sends this warp's sums to their owners. `source`: split * groups_k + group_k.
  __device__ void send(const Accumulators& sums, int sub_block, int source, int lane) const {
    const int splits = args.splits;
    const int rows = tokens();
#pragma unroll
    for (int t = 0; t < V::kConfig.tiles; ++t) {
      const int sub = sub_block + t;
      const int owner = sub * splits / kSubBlocks;
      const int local = sub - first_owned(args, owner);
      const int panels = (source * owned(args, owner) + local) * kPanels;
      const std::uint32_t own = shared.sums() + (panels * kPanelFloats + lane / 4 * 8 + lane % 4 * 2) * 4;
      const std::uint32_t target = splits > 1 ? ptx::map_shared(own, owner) : own;
      const std::uint32_t signal = ptx::map_shared(shared.exchange(), owner);
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        if (panel * 8 + lane % 4 * 2 < rows) {
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const std::uint32_t at = target + (panel * kPanelFloats + h * 64) * 4;
            const float x = sums[t][panel * 4 + h * 2], y = sums[t][panel * 4 + h * 2 + 1];
            if (splits > 1) {
              ptx::store_async(at, x, y, signal);
            } else {
              asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at), "f"(x), "f"(y) : "memory");
            }
          }
        }
      }
    }
  }

  // Returns when all sums for this block's columns are here. All consumer threads.
  __device__ void receive() const {
    if (args.splits > 1) {
      ptx::mbarrier_wait(shared.exchange(), 0);
    } else {
      ptx::named_barrier(1, V::kConfig.consumer_warps() * 32);
    }
  }

  // Adds what arrived, source by source, and writes this block's columns of C. All consumer threads.
  __device__ void add_and_store(int rank, int thread) const {
    const int splits = args.splits;
    const int sources = splits * V::kConfig.groups_k;
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

  // A warpgroup's tile, whole sums, to C. 128 tokens x 64 columns at a time pass through the warpgroup's own 16 KB of shared memory.
  __device__ void store(const Accumulators& sums, int group_n, int warp, int lane) const {
    const int sub = (group_n * 4 + warp) * V::kConfig.tiles;
#pragma unroll
    for (int t = 0; t < V::kConfig.tiles; ++t) {
      const int column = work.n0 + (sub + t) * 16;
      const float bias[2] = {column + lane / 4 < args.n ? bias_of(args, column + lane / 4) : 0.0f,
                             column + 8 + lane / 4 < args.n ? bias_of(args, column + 8 + lane / 4) : 0.0f};
      if (args.vector_store) {
#pragma unroll
        for (int part = 0; part < V::kConfig.tokens / 128; ++part) {
          stage_part(sums[t], part, bias, group_n, warp, lane);
          ptx::named_barrier(1 + group_n, 128);
          write_part(t, part, group_n, warp * 32 + lane);
          ptx::named_barrier(1 + group_n, 128);
        }
      } else {
        write_elements(sums[t], bias, column, lane);
      }
    }
  }

 private:
  // Row = token, eight 16-byte chunks of 8 columns, chunk c at c ^ (token % 8) against bank conflicts.
  __device__ void stage_part(const float (&sums)[V::kAccumulators], int part, const float (&bias)[2], int group_n, int warp,
                             int lane) const {
    const std::uint32_t base = shared.staging() + group_n * (128 * 128);
#pragma unroll
    for (int j = 0; j < 16; j += 2) {
      std::uint32_t matrices[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = (part * 16 + j + i / 2) * 4 + i % 2 * 2;
        matrices[i] = pack_pair(args.c_type, sums[at] + bias[i % 2], sums[at + 1] + bias[i % 2]);
      }
      const int token = (j + lane / 16) * 8 + lane % 8;
      const int chunk = warp * 2 + lane / 8 % 2;
      ptx::store_matrices_transposed(base + token * 128 + (chunk ^ (token % 8)) * 16, matrices);
    }
  }

  __device__ void write_part(int t, int part, int group_n, int thread) const {
    const std::uint32_t base = shared.staging() + group_n * (128 * 128);
    const int chunk = thread % 8;
    const int n = work.n0 + ((group_n * 4 + chunk / 2) * V::kConfig.tiles + t) * 16 + chunk % 2 * 8;
    const int rows = min(128, args.m - work.m0 - part * 128);
    for (int token = thread / 8; token < rows; token += 16) {
      uint4 v;
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                   : "r"(base + token * 128 + (chunk ^ (token % 8)) * 16));
      auto* target = static_cast<unsigned short*>(args.c) + std::int64_t{work.m0 + part * 128 + token} * args.ldc + n;
      if (n + 8 <= args.n) {
        *reinterpret_cast<uint4*>(target) = v;
      } else {
        const std::uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          if (n + i < args.n) target[i] = static_cast<unsigned short>(words[i / 2] >> (16 * (i % 2)));
        }
      }
    }
  }

  __device__ void write_elements(const float (&sums)[V::kAccumulators], const float (&bias)[2], int column, int lane) const {
#pragma unroll
    for (int i = 0; i < V::kAccumulators; ++i) {
      const int token = i / 4 * 8 + lane % 4 * 2 + i % 2;
      const int n = column + i / 2 % 2 * 8 + lane / 4;
      if (work.m0 + token < args.m && n < args.n) {
        store_element(args.c, args.c_type, std::int64_t{work.m0 + token} * args.ldc + n, sums[i] + bias[i / 2 % 2]);
      }
    }
  }
};

}  // namespace billfish::sm90
