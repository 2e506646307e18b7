// SPDX-License-Identifier: Apache-2.0
// The sm90 kernel for few tokens: weights stream through a ring of shared memory, eight warps decode them, mma.sync multiplies. One block a
// multiprocessor with an equal share of all items; a second block's worth of room is left for the next launch of the stream, which fills
// its ring while this one ends. docs/kernels/sm90-stream.md tells it with numbers. Launched by stream_launch.cu.
#pragma once

#include "cuda/sm90/stream_copies.cuh"
#include "cuda/sm90/stream_loop.cuh"
#include "cuda/sm90/stream_sums.cuh"

namespace billfish::sm90 {

template <class V>
__global__ void __launch_bounds__(V::kConfig.threads(), 2)
    stream_gemm(const __grid_constant__ CUtensorMap codes_map, const __grid_constant__ CUtensorMap scales_map,
                const __grid_constant__ CUtensorMap zeros_map, const __grid_constant__ CUtensorMap a_map,
                const __grid_constant__ StreamArguments args) {
  extern __shared__ unsigned char memory[];
  const StreamShared shared{(ptx::shared_address(memory) + 1023u) & ~1023u, args};
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);
  const int lane = thread % 32;
  constexpr int kTeams = V::kConfig.teams;
  const Range range = range_of(args.shares, blockIdx.x);

  if (thread == 0) {
#pragma unroll 1
    for (int slot = 0; slot < args.slots; ++slot) {
      ptx::mbarrier_init(shared.full(slot), 1);
      ptx::mbarrier_init(shared.empty(slot), 4);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (warp == V::kConfig.consumers() / 32) {
    if (lane == 0) StreamProducer<V>{{&codes_map, &scales_map, &zeros_map, &a_map}, args, shared}.run(range);
    return;
  }

  const int team = warp / 4;
  const StreamLoop<V> loop{args, shared, static_cast<unsigned>(warp) % 4, static_cast<unsigned>(lane)};
  const StreamSums<V> output{args, shared};
  int slot = team, parity = 0;
  int others = team;  // items of the other teams before this team's next
  for (int tile = range.last_tile, end = range.end;; --tile) {
    const int tile_begin = tile * args.shares.items;
    typename StreamLoop<V>::Sums sums;
    typename StreamLoop<V>::Columns columns;
    StreamLoop<V>::clear(sums);
    if (args.per_column) loop.load_only_row(columns, tile * kStreamColumns);
    int left = end - max(range.begin, tile_begin) - others;
    for (; left > 0; left -= kTeams) {
      ptx::mbarrier_wait(shared.full(slot), parity);
      if constexpr (V::kFine) {
        if (V::kSteps > 4 && args.even_groups == 4) {
          loop.template multiply_groups<4>(sums, slot);
        } else if (args.even_groups == 2) {
          loop.template multiply_groups<2>(sums, slot);
        } else if (args.even_groups == 1) {
          loop.template multiply_groups<1>(sums, slot);
        } else {
          loop.template multiply_groups<0>(sums, slot, (end - tile * args.shares.items - left) * V::kSteps);
        }
        ptx::fence_before_copies();
        __syncwarp();  // the warp has read the slot
        ptx::mbarrier_arrive_if(shared.empty(slot), lane == 0);
      } else {
        typename StreamLoop<V>::Sums part;
        if (!args.per_column) {
          typename StreamLoop<V>::Row row;
          loop.load_row(row, slot, 0);
          loop.set(columns, row);
        }
        loop.multiply(part, columns, slot);
        ptx::fence_before_copies();
        __syncwarp();
        ptx::mbarrier_arrive_if(shared.empty(slot), lane == 0);
        loop.template fold<false>(sums, part, columns);
      }
      slot += kTeams;
      if (slot >= args.slots) {
        slot = team;
        parity ^= 1;
      }
    }
    others = -left;
    output.meet(sums, team, warp % 4, lane);
    if (end < tile_begin + args.shares.items) {
      output.leave(blockIdx.x, thread);
    } else {
      const int block = static_cast<int>(blockIdx.x);
      output.collect(tile, range.begin > tile_begin ? block - range.helpers : block, block, thread);
    }
    if (tile_begin <= range.begin) return;
    ptx::named_barrier(1, V::kConfig.consumers());  // sums are read
    end = tile_begin;
  }
}

}  // namespace billfish::sm90
