// SPDX-License-Identifier: Apache-2.0
// The producer warp: fills the ring in order, one tensor-map copy each for an item's codes, scales, zeros and activations. Weights of the
// first turn are under way before the previous kernel of the stream has ended; activations are read only after it.
#pragma once

#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/ptx/dependent_launch.cuh"
#include "cuda/sm90/stream_block.cuh"

namespace billfish::sm90 {

struct StreamMaps {
  const CUtensorMap *codes, *scales, *zeros, *activations;
};

template <class V>
struct StreamProducer {
  const StreamMaps maps;
  const StreamArguments& args;
  const StreamShared& shared;

  // Announces all of the item's bytes and starts what does not depend on the previous kernel.
  __device__ void start_weights(const Item& item, int slot) const {
    const std::uint32_t full = shared.full(slot);
    const int bytes = kStreamSlotBytes + V::kConfig.tokens * V::kItemK * 2 +
                      args.rows * (kStreamColumns * 2 + (V::Codec::kZeros ? kStreamColumns / 2 : 0));
    ptx::mbarrier_expect(full, bytes);
    const int step = item.part * V::kSteps;
    ptx::tensor_copy(shared.codes(slot), maps.codes, item.tile * (kStreamColumns * V::Codec::kBits / 4), step, full);
    if (args.rows > 0) {
      const int row = row_of(args, step);
      ptx::tensor_copy(shared.scales(slot), maps.scales, item.tile * kStreamColumns, row, full);
      if constexpr (V::Codec::kZeros) ptx::tensor_copy(shared.zeros(slot), maps.zeros, item.tile * (kStreamColumns / 2), row, full);
    }
  }

  __device__ void start_activations(const Item& item, int slot) const {
    const std::uint32_t target = shared.activations(slot), full = shared.full(slot);
    if (args.whole_panels) {
      ptx::tensor_copy(target, maps.activations, 0, 0, item.part * V::kPanels, full);
    } else {
#pragma unroll
      for (int i = 0; i < V::kPanels; ++i) {
        ptx::tensor_copy(target + i * V::kConfig.tokens * 128, maps.activations, item.part * V::kItemK + i * 64, 0, 0, full);
      }
    }
  }

  // One thread, which also lets the next launch begin. A slot is always the same team's: a team that waited for a slot's turn after next
  // would take the next for it.
  __device__ void run(const Range& range) const {
    ptx::allow_dependents();
    const int count = range.end - range.begin;
    const int ahead = min(args.slots, count);
    const int early = min(ahead, kStreamEarlySlots);
    Item item = Item::first(args, range);
    for (int q = 0; q < early; ++q, item.advance(args, range)) start_weights(item, q);
    ptx::wait_for_predecessors();
    item = Item::first(args, range);
    for (int q = 0; q < early; ++q, item.advance(args, range)) start_activations(item, q);
    for (int q = early; q < ahead; ++q, item.advance(args, range)) {
      start_weights(item, q);
      start_activations(item, q);
    }
    int slot = 0, parity = 0;
    for (int q = ahead; q < count; ++q, item.advance(args, range)) {
      ptx::mbarrier_wait(shared.empty(slot), parity);
      start_weights(item, slot);
      start_activations(item, slot);
      if (++slot == args.slots) {
        slot = 0;
        parity ^= 1;
      }
    }
  }
};

}  // namespace billfish::sm90
