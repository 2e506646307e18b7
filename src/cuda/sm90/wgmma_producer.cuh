// SPDX-License-Identifier: Apache-2.0
// The producer warp: fills stages in order. Weights, scales and zeros of the first stages are under way before the previous kernel of the
// stream has ended; activations are read only after it.
#pragma once

#include "cuda/ptx/async_copy.cuh"
#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/ptx/dependent_launch.cuh"
#include "cuda/sm90/wgmma_block.cuh"

namespace billfish::sm90 {

template <class V>
struct Producer {
  const CUtensorMap* a_map;
  const WgmmaArguments& args;
  Shared<V> shared;
  int lane;

  // Announces the stage's bytes and starts its weights (lanes 0..kSteps-1, a row each: 54 clocks an operation, whatever its size),
  // scales and zeros (16 bytes a lane, on the ordinary path).
  __device__ void start_weights(const Work& work, int stage, int slot) const {
    const std::uint32_t full = shared.full(slot);
    const int first = stage * V::kSteps;
    const int steps = min(V::kSteps, args.steps - first);
    const int columns = min(V::kColumns, args.scale_row_bytes / 2 - work.n0);
    const int bytes = columns * V::Codec::kBits * 2;
    if (lane == 0) ptx::mbarrier_expect(full, steps * bytes + V::kMap.activations);
    __syncwarp();
    if (lane < steps) {
      const unsigned char* row = args.codes + (first + lane) * args.code_row_bytes + std::int64_t{work.n0} * V::Codec::kBits * 2;
      ptx::bulk_copy(shared.weights(slot) + lane * V::kRowBytes, row, bytes, full);
    }
    if (V::kFine || !args.per_column) start_scales(work, first, steps, columns, slot);
    ptx::mbarrier_arrive_after_async_copies(full);
  }

  __device__ void start_scales(const Work& work, int first, int steps, int columns, int slot) const {
    const int row0 = scale_row(args, first);
    const int rows = V::kFine ? scale_row(args, first + steps - 1) - row0 + 1 : 1;
    for (int row = 0; row < rows; ++row) {
      if (lane * 8 < columns) {
        const auto* source = reinterpret_cast<const unsigned char*>(args.scales) + std::int64_t{row0 + row} * args.scale_row_bytes;
        ptx::async_copy_16_zero_fill(shared.scales(slot) + row * V::kColumns * 2 + lane * 16, source + work.n0 * 2 + lane * 16, 16);
      }
      if (V::Codec::kZeros && lane * 32 < columns) {
        const unsigned char* source = args.zeros + std::int64_t{row0 + row} * args.zero_row_bytes;
        ptx::async_copy_16_zero_fill(shared.zeros(slot) + row * V::kColumns / 2 + lane * 16, source + work.n0 / 2 + lane * 16, 16);
      }
    }
  }

  __device__ void start_activations(const Work& work, int stage, int slot) const {
    if (lane < V::kPanels) {
      ptx::tensor_copy(shared.activations(slot) + lane * V::kConfig.tokens * 128, a_map, stage * V::kConfig.stage_k + lane * 64, work.m0,
                       shared.full(slot));
    }
  }

  __device__ void run(int tile, int tile_step, int rank) const {
    const int tiles = args.tiles_m * args.tiles_n;
    Ring<V> ring;
    bool first_tile = true;
    for (; tile < tiles; tile += tile_step) {
      const Work work = work_of<V>(args, tile, rank);
      int stage = work.begin;
      if (first_tile) {
        const int ahead = min(V::kStages, work.end - work.begin);
        for (int i = 0; i < ahead; ++i) start_weights(work, stage + i, i);
        ptx::wait_for_predecessors();
        for (int i = 0; i < ahead; ++i) {
          start_activations(work, stage + i, i);
          ring.advance();
        }
        stage += ahead;
        first_tile = false;
      }
      for (; stage < work.end; ++stage) {
        ptx::mbarrier_wait(shared.empty(ring.slot), ring.parity ^ 1);
        start_weights(work, stage, ring.slot);
        start_activations(work, stage, ring.slot);
        ring.advance();
      }
    }
  }
};

}  // namespace billfish::sm90
