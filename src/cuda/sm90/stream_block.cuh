// SPDX-License-Identifier: Apache-2.0
// What the parts of the streaming kernel share: a block's range of items and where they lie in shared memory.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/decode.cuh"
#include "cuda/ptx/barrier.cuh"
#include "cuda/sm90/shares.hpp"
#include "cuda/sm90/stream_arguments.hpp"
#include "cuda/sm90/stream_policy.hpp"

namespace billfish::sm90 {

template <int kPolicy, WeightType kWeight, bool kIsBf16, bool kIsFine>
struct Stream {
  using Codec = cuda::Decode<kWeight, kIsBf16>;  // the seam for weight types
  static constexpr StreamConfig kConfig = kStreamConfigs[kPolicy];
  static constexpr bool kBf16 = kIsBf16;
  static constexpr bool kFine = kIsFine;  // a group may end inside an item
  static constexpr int kItemK = stream_item_k(Codec::kBits);
  static constexpr int kSteps = kItemK / 16;
  static constexpr int kStepBytes = kStreamSlotBytes / kSteps;
  static constexpr int kPanels = kItemK / 64;  // 128-byte wide panels of activations
  static constexpr int kTiles = 2;             // of 16 columns, a warp
  static constexpr int kTokenTiles = kConfig.tokens / 8;
};

// Walks a range in the order of work.
struct Item {
  int tile, part;  // part: of K
  int end;         // of the tile's parts in the range

  static __device__ Item first(const StreamArguments& args, const Range& range) { return of_tile(args, range, range.last_tile); }
  __device__ void advance(const StreamArguments& args, const Range& range) {
    if (++part == end) *this = of_tile(args, range, tile - 1);
  }

 private:
  static __device__ Item of_tile(const StreamArguments& args, const Range& range, int tile) {
    const int begin = tile * args.shares.items;
    return {tile, max(range.begin - begin, 0), min(range.end - begin, args.shares.items)};
  }
};

struct StreamShared {
  std::uint32_t base;
  const StreamArguments& args;
  __device__ std::uint32_t codes(int slot) const { return base + slot * args.item_bytes; }
  __device__ std::uint32_t activations(int slot) const { return codes(slot) + kStreamSlotBytes; }
  __device__ std::uint32_t scales(int slot) const { return base + args.slots * args.item_bytes + slot * args.extra_bytes; }
  __device__ std::uint32_t zeros(int slot) const { return scales(slot) + args.zeros_offset; }
  __device__ std::uint32_t full(int slot) const { return scales(args.slots) + slot * 16; }
  __device__ std::uint32_t empty(int slot) const { return full(slot) + 8; }
  __device__ std::uint32_t sums() const { return full(kStreamMaxSlots); }
};

// Row of scales of a k16 step.
inline __device__ int row_of(const StreamArguments& args, int step) {
  return static_cast<int>(__umulhi(static_cast<unsigned>(step), args.group_magic) + static_cast<unsigned>(step) * args.group_identity);
}

}  // namespace billfish::sm90
