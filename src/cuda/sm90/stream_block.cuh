// SPDX-License-Identifier: Apache-2.0
// What the parts of the streaming kernel share: a block's range of items and where they lie in shared memory.
//
// Items are numbered tile by tile, K innermost; block b of B has those from b * all / B to (b + 1) * all / B, whatever tiles they belong
// to; or the blocks are dealt to the tiles, where that is as even. A block works from the last tile of its range to the first: what it does
// for a tile that a later block ends comes first, so that the later block finds it ready.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/decode.cuh"
#include "cuda/ptx/barrier.cuh"
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

struct Range {
  int begin, end;  // items
  int first_tile, last_tile;
  int helpers;  // blocks just before this one that leave sums of first_tile for it
};

inline __device__ Range range_of(const StreamArguments& args, unsigned block) {
  Range range;
  if (args.tile_parts > 0) {  // every tile has parts of its own: the first `longer_tiles` one more
    const unsigned longer = args.longer_tiles * (args.tile_parts + 1);
    const bool is_longer = block < longer;
    const unsigned parts = args.tile_parts + is_longer;
    const unsigned at = is_longer ? block : block - longer;
    const unsigned tile = at / parts, part = at - tile * parts;
    range.first_tile = range.last_tile = static_cast<int>(is_longer ? tile : tile + args.longer_tiles);
    range.begin = range.first_tile * args.items + static_cast<int>(part * args.items / parts);
    range.end = range.first_tile * args.items + static_cast<int>((part + 1) * args.items / parts);
    range.helpers = static_cast<int>(part);
  } else {
    range.begin = static_cast<int>(block * args.all_items / args.parts);
    range.end = static_cast<int>((block + 1) * args.all_items / args.parts);
    range.first_tile = range.begin / args.items;
    range.last_tile = (range.end - 1) / args.items;
    // The block that has item i is ((i + 1) * parts - 1) / all_items.
    const unsigned tile_begin = static_cast<unsigned>(range.first_tile * args.items);
    range.helpers = static_cast<int>(block - ((tile_begin + 1) * args.parts - 1) / args.all_items);
  }
  return range;
}

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
    const int begin = tile * args.items;
    return {tile, max(range.begin - begin, 0), min(range.end - begin, args.items)};
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
