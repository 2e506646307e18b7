// SPDX-License-Identifier: Apache-2.0
// The producer warp: fills stages in order. Weights, scales and zeros of the first stages are under way before the previous kernel of the
// stream has ended; activations are read only after it.
#pragma once

#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/ptx/dependent_launch.cuh"
#include "cuda/ptx/flag.cuh"
#include "cuda/sm90/wgmma_block.cuh"

namespace billfish::sm90 {

template <class V>
struct Producer {
  const CUtensorMap* a_map;
  const CUtensorMap* codes_map;               // [k16 steps][columns * bits / 4 words of 8 bytes]
  const CUtensorMap *scales_map, *zeros_map;  // [groups][columns], [groups][columns / 2 bytes]
  const WgmmaArguments& args;
  Shared<V> shared;
  int lane;

  // Announces the stage's bytes and starts its weights, scales and zeros: few, large operations, because each costs 54 clocks or more.
  __device__ void start_weights(const Work& work, int stage, int slot) const {
    const std::uint32_t full = shared.full(slot);
    const int first = stage * V::kSteps;
    if (lane == 0) {
      ptx::mbarrier_expect(
          full, V::kMap.weights + V::kMap.activations + args.rows * (V::kColumns * 2 + (V::Codec::kZeros ? V::kColumns / 2 : 0)));
    }
    __syncwarp();
    if (lane < V::kParts) {
      ptx::tensor_copy(shared.weights(slot) + lane * V::kSteps * V::kPartBytes, codes_map,
                       work.n0 * V::Codec::kBits / 4 + lane * (V::kPartBytes / 8), first, full);
    }
    if (lane == 0 && args.rows > 0) {
      const int row = scale_row(args, first);
      ptx::tensor_copy(shared.scales(slot), scales_map, work.n0, row, full);
      if constexpr (V::Codec::kZeros) ptx::tensor_copy(shared.zeros(slot), zeros_map, work.n0 / 2, row, full);
    }
  }

  __device__ void start_activations(const Work& work, int stage, int slot) const {
    if (lane >= V::kPanels) return;
    const std::uint32_t target = shared.activations(slot) + lane * V::kConfig.tokens * 128;
    const int k = stage * V::kConfig.stage_k + lane * 64;
    if constexpr (V::kAbreast == 1) {
      ptx::tensor_copy(target, a_map, k, work.m0, shared.full(slot));
    } else {
      constexpr int kPart = V::kConfig.tokens / V::kAbreast;
      const int first = static_cast<int>(Unit<V>::rank()) * kPart;
      ptx::tensor_copy_to((1u << V::kAbreast) - 1, target + first * 128, a_map, k, work.m0 + first, shared.full(slot));
    }
  }

  // What `helpers` blocks before this one leave of a tile: chunk by chunk, and of a chunk block by block.
  __device__ void bring_sums(const Work& work, unsigned helpers, Ring<V>& ring) const {
    using Chunks = Chunks<V>;
    if (helpers == 0) return;
    const auto block_of = [&](unsigned i) { return blockIdx.x - (helpers - i) * V::kAbreast; };
    for (unsigned i = lane; i < helpers; i += 32) ptx::take_flag(Chunks::flag_of(args, block_of(i)));
    __syncwarp();
    ptx::fence_async_proxy();
    for (int chunk = 0; chunk < Chunks::kOfTile; ++chunk) {
      if (Chunks::is_empty(chunk, args.m - work.m0)) continue;
      for (unsigned i = 0; i < helpers; ++i) {
        ptx::mbarrier_wait(shared.empty(ring.slot), ring.parity ^ 1);
        if (lane == 0) {
          ptx::mbarrier_expect(shared.full(ring.slot), Chunks::kBytes);
          ptx::bulk_copy(shared.slot(ring.slot), Chunks::slot_of(args, block_of(i)) + chunk * (Chunks::kBytes / 4), Chunks::kBytes,
                         shared.full(ring.slot));
        }
        __syncwarp();
        ring.advance();
      }
    }
  }

  __device__ void run(Walk<V> walk) const {
    Ring<V> ring;
    Work work = walk.work();
    int stage = work.begin;
    const int ahead = min(V::kStages, work.end - work.begin);
    for (int i = 0; i < ahead; ++i) start_weights(work, stage + i, i);
    ptx::wait_for_predecessors();
    for (int i = 0; i < ahead; ++i) {
      start_activations(work, stage + i, i);
      ring.advance();
    }
    stage += ahead;
    while (true) {
      for (; stage < work.end; ++stage) {
        ptx::mbarrier_wait(shared.empty(ring.slot), ring.parity ^ 1);
        start_weights(work, stage, ring.slot);
        start_activations(work, stage, ring.slot);
        ring.advance();
      }
      if constexpr (!V::kCluster) bring_sums(work, walk.helpers(work), ring);
      if (!walk.next()) break;
      work = walk.work();
      stage = work.begin;
    }
  }
};

}  // namespace billfish::sm90
