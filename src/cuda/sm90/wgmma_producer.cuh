// SPDX-License-Identifier: Apache-2.0
// The producer warp: fills stages in order. Weights, scales and zeros of the first stages are under way before the previous kernel of the
// stream has ended; activations are read only after it.
#pragma once

#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/ptx/dependent_launch.cuh"
#include "cuda/ptx/elect.cuh"
#include "cuda/sm90/wgmma_block.cuh"

namespace billfish::sm90 {

template <class V>
struct Producer {
  const CUtensorMap* a_map;
  const CUtensorMap* codes_map;               // [k16 steps][columns * bits / 4 words of 8 bytes]
  const CUtensorMap *scales_map, *zeros_map;  // [groups][columns], [groups][columns / 2 bytes]
  const WgmmaArguments& args;
  Shared<V> shared;

  // Stages that are on their way before the other warps are ready, and before the previous kernel has ended. A block that has the SM to
  // itself can only start when that kernel has all but ended, and does not wait with more in its hands; one that starts long before would
  // otherwise bring so much that the activations of the launch that is running come late.
  static constexpr int kFirst = 2, kEarlyBytes = 32 * 1024;
  static constexpr int kEarly =
      V::kConfig.blocks_per_sm == 1 || kFirst * V::kMap.weights > kEarlyBytes ? kFirst : kEarlyBytes / V::kMap.weights;

  // Announces the stage's bytes and starts its weights, scales and zeros: few, large operations, because each costs 54 clocks or more.
  __device__ void start_weights(const Work& work, int stage, int slot) const {
    const std::uint32_t full = shared.full(slot);
    const int first = stage * V::kSteps;
    if (ptx::elect_thread()) {
      ptx::mbarrier_expect(
          full, V::kMap.weights + V::kMap.activations + args.rows * (V::kColumns * 2 + (V::Codec::kZeros ? V::kColumns / 2 : 0)));
#pragma unroll
      for (int part = 0; part < V::kParts; ++part) {
        ptx::tensor_copy(shared.weights(slot) + part * V::kSteps * V::kPartBytes, codes_map,
                         work.n0 * V::Codec::kBits / 4 + part * (V::kPartBytes / 8), first, full);
      }
      if (args.rows > 0) {
        const int row = scale_row(args, first);
#pragma unroll
        for (int part = 0; part < V::kScaleParts; ++part) {
          ptx::tensor_copy(shared.scales(slot) + part * V::kScalePartBytes, scales_map, work.n0 + part * scale_columns(V::kConfig), row,
                           full);
        }
        if constexpr (V::Codec::kZeros) ptx::tensor_copy(shared.zeros(slot), zeros_map, work.n0 / 2, row, full);
      }
    }
    __syncwarp();
  }

  __device__ void start_activations(const Work& work, int stage, int slot) const {
    constexpr int kPart = V::kConfig.tokens / V::kAbreast;
    const int first = V::kAbreast == 1 ? 0 : static_cast<int>(Unit<V>::rank()) * kPart;
    const std::uint32_t target = shared.activations(slot) + first * 128, full = shared.full(slot);
    if (ptx::elect_thread()) {
#pragma unroll
      for (int panel = 0; panel < V::kPanels; ++panel) {
        const std::uint32_t to = target + panel * (V::kConfig.tokens * 128);
        const int k = stage * V::kConfig.stage_k + panel * 64;
        if constexpr (V::kAbreast == 1) {
          ptx::tensor_copy(to, a_map, k, work.m0, full);
        } else {
          ptx::tensor_copy_to((1u << V::kAbreast) - 1, to, a_map, k, work.m0 + first, full);
        }
      }
    }
    __syncwarp();
  }

  // The first weights are on their way before the other warps are ready.
  __device__ void start(const Work& work) const {
    const int first = min(kFirst, work.end - work.begin);
    for (int i = 0; i < first; ++i) start_weights(work, work.begin + i, i);
  }

  // Lets the next launch begin, too: at once, or when its weights would not come before this one's any more.
  __device__ void run(Walk<V> walk, Work work) const {
    Ring<V> ring;
    int stage = work.begin;
    // What goes into the ring at once is over too soon to be held for: 336 x 24208, M = 24, three stages, 6.7 us instead of 4.3.
    bool held = V::kConfig.held_for > 0 && (work.end - stage > V::kStages || walk.more());
    if (!held) ptx::allow_dependents();
    const int ahead = min(V::kStages, work.end - work.begin);
    for (int i = kFirst; i < min(kEarly, ahead); ++i) start_weights(work, stage + i, i);
    ptx::wait_for_predecessors();
    for (int i = 0; i < ahead; ++i) {
      if (i >= kEarly) start_weights(work, stage + i, i);
      start_activations(work, stage + i, i);
      ring.advance();
    }
    stage += ahead;
    while (true) {
      const bool is_last = held && !walk.more();
      for (; stage < work.end; ++stage) {
        if (is_last && held && work.end - stage <= V::kConfig.held_for) {
          ptx::allow_dependents();
          held = false;
        }
        ptx::mbarrier_wait(shared.empty(ring.slot), ring.parity ^ 1);
        start_weights(work, stage, ring.slot);
        start_activations(work, stage, ring.slot);
        ring.advance();
      }
      if (is_last && held) ptx::allow_dependents();
      if (!walk.next()) break;
      work = walk.work();
      stage = work.begin;
    }
  }
};

}  // namespace billfish::sm90
