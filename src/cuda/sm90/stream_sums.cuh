// SPDX-License-Identifier: Apache-2.0
// From a block's sums of a tile to C. The teams' sums meet in shared memory. A tile that several blocks share belongs to the last of them:
// the others leave theirs in the workspace, a slot a block, and the owner waits for blocks before it only, so that it never waits for one
// that has not started. In what order it adds depends on numbers only: the same bits on every replay.
//
// Values are left as ptx/left_values.cuh has it: the workspace is all zeros between launches.
#pragma once

#include "cuda/ptx/left_values.cuh"
#include "cuda/ptx/barrier.cuh"
#include "cuda/sm90/stream_loop.cuh"
#include "cuda/sm90/output.cuh"

namespace billfish::sm90 {

template <class V>
struct StreamSums {
  using Sums = typename StreamLoop<V>::Sums;
  static constexpr int kBuffers = V::kConfig.teams / 2;
  static constexpr int kThreads = V::kConfig.consumers();
  static constexpr int kQuads = kStreamColumns / 4;  // four columns of a token are one quad: 16 bytes of f32

  const StreamArguments& args;
  const StreamShared& shared;

  // The upper half of the teams leaves its sums, the lower half adds its own: half the memory, one barrier more. All threads.
  __device__ void meet(const Sums& sums, int team, int warp, int lane) const {
    const std::uint32_t at =
        shared.sums() + (team % kBuffers * args.m * kStreamSumsPitch + lane % 4 * 2 * kStreamSumsPitch + warp * 32 + lane / 4) * 4;
    if (team >= kBuffers) visit<false>(sums, at, lane);
    ptx::named_barrier(1, kThreads);
    if (team < kBuffers) visit<true>(sums, at, lane);
    ptx::named_barrier(1, kThreads);
  }

  __device__ float4 sum_of(int token, int quad) const {
    float4 sum = load(token, quad, 0);
#pragma unroll
    for (int i = 1; i < kBuffers; ++i) add(sum, load(token, quad, i));
    return sum;
  }

  // The tile's sums to the block's slot of the workspace.
  __device__ void leave(unsigned block, int thread) const {
#pragma unroll 1
    for (int v = thread; v < args.m * kQuads; v += kThreads) {
      ptx::leave_values(slot_of(block) + v * 4, sum_of(v / kQuads, v % kQuads));
    }
  }

  // C from the block's sums and those that blocks first .. block - 1 left. Where there are many of those and a few tokens have fewer quads
  // than there are threads, 1 << bits lanes of a warp fetch a quad, each from every so many-th block. All threads.
  __device__ void collect(int tile, int first, int block, int thread) const {
    const int bits = V::kTokenTiles > 1 ? 0 : stream_collector_bits(args.m, block - first), shares = 1 << bits;
    const int width = 32 >> bits;  // quads of a warp at a time
    const int lane = thread % 32, share = lane >> (5 - bits);
#pragma unroll 1
    for (int v = thread / 32 * width + (lane & (width - 1)); v < args.m * kQuads; v += kThreads >> bits) {  // whole warps
      const int token = v / kQuads, quad = v % kQuads;
      float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 1
      for (int from = first + share; from < block; from += kStreamAtOnce * shares) {
        take(sum, from, min((block - from + shares - 1) >> bits, kStreamAtOnce), shares, v);
      }
#pragma unroll 1
      for (int other = width; other < 32; other *= 2) {
        add(sum, make_float4(__shfl_xor_sync(~0u, sum.x, other), __shfl_xor_sync(~0u, sum.y, other), __shfl_xor_sync(~0u, sum.z, other),
                             __shfl_xor_sync(~0u, sum.w, other)));
      }
      if (share > 0) continue;
      add(sum, sum_of(token, quad));
      store(sum, token, tile * kStreamColumns + quad * 4);
    }
  }

 private:
  template <bool kAdd>
  __device__ void visit(const Sums& sums, std::uint32_t at, int lane) const {
#pragma unroll
    for (int j = 0; j < V::kTokenTiles; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (j * 8 + lane % 4 * 2 + i >= args.m) continue;
#pragma unroll
        for (int t = 0; t < V::kTiles; ++t) {
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const std::uint32_t address = at + ((j * 8 + i) * kStreamSumsPitch + t * 16 + h * 8) * 4;
            float value = sums[t][j][h * 2 + i];
            if constexpr (kAdd) {
              float other;
              asm volatile("ld.shared.f32 %0, [%1];" : "=f"(other) : "r"(address));
              value += other;
            }
            asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
          }
        }
      }
    }
  }

  __device__ float4 load(int token, int quad, int buffer) const {
    float4 v;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(shared.sums() + ((buffer * args.m + token) * kStreamSumsPitch + quad * 4) * 4));
    return v;
  }
  static __device__ void add(float4& sum, const float4& v) { sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w; }

  __device__ float* slot_of(int block) const { return args.workspace + static_cast<std::int64_t>(block) * args.m * kStreamColumns; }

  // From blocks from, from + stride, ...
  __device__ void take(float4& sum, int from, int count, int stride, int v) const {
    uint4 left[kStreamAtOnce];
    bool missing = true;
    while (missing) {
      missing = false;
#pragma unroll
      for (int i = 0; i < kStreamAtOnce; ++i) {
        if (i < count) left[i] = ptx::look_at_values(slot_of(from + i * stride) + v * 4);
      }
#pragma unroll
      for (int i = 0; i < kStreamAtOnce; ++i) {
        if (i < count) missing |= !ptx::have_come(left[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kStreamAtOnce; ++i) {
      if (i < count) {
        add(sum, ptx::values_of(left[i]));
        ptx::put_zeros_back(slot_of(from + i * stride) + v * 4);
      }
    }
  }

  __device__ void store(const float4& sum, int token, int n) const {
    float values[4] = {sum.x, sum.y, sum.z, sum.w};
    if (args.bias != nullptr) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (n + i < args.n) values[i] += bias_of(args, n + i);
      }
    }
    const std::int64_t at = token * args.ldc + n;
    if (args.vector_store && n + 4 <= args.n) {
      const uint2 packed = {pack_pair(args.c_type, values[0], values[1]), pack_pair(args.c_type, values[2], values[3])};
      *reinterpret_cast<uint2*>(static_cast<unsigned short*>(args.c) + at) = packed;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (n + i < args.n) store_element(args.c, args.c_type, at + i, values[i]);
      }
    }
  }
};

}  // namespace billfish::sm90
