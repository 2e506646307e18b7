// SPDX-License-Identifier: Apache-2.0
// How blocks share tiles of C: equal parts of all stages, whatever tiles they belong to, or whole blocks dealt to the tiles. The host fills
// it, the kernels walk by it. Plain C++.
//
// Items (parts of K) are numbered tile by tile; a block has a range of them and works from its last tile to its first: what it does for a
// tile that later blocks end comes first, long before those need it. In what order sums are added only numbers decide: the same bits on
// every replay. Who adds them and how they get there is each kernel's own (stream_sums.cuh, Meeting).
#pragma once

#include "core/divisor.hpp"

namespace billfish::sm90 {

// Of the wgmma kernel: a block has two slots for sums in the workspace, for a tile that begins with it and for one that begins before it.
constexpr int kSlotsOfBlock = 2;
constexpr int kFlagBytes = 12 * 4;  // of a slot: a flag a warp

struct Shares {
  int items;              // of a tile: parts of K
  unsigned all_items;     // of all shared tiles; all_items * (parts + 1) < 2^31
  unsigned parts;         // blocks; 0: no tile is shared
  unsigned tile_parts;    // blocks of a tile, or one more; 0: blocks have equal parts of all items
  unsigned longer_tiles;  // the first tiles, which have one block more
  Divisor by_items, by_all_items, by_parts, by_tile_parts, by_longer;  // the last: by tile_parts + 1
};

// A block's part.
struct Range {
  int begin, end;  // items
  int first_tile, last_tile;
  int helpers;    // blocks just before this one that have items of first_tile
  int followers;  // blocks just after this one that have items of last_tile
  int early;      // 1: the first of the helpers has an earlier tile too, and leaves its sums of first_tile long before the others
};

BILLFISH_HD inline Range range_of(const Shares& shares, unsigned block) {
  Range range;
  if (shares.tile_parts > 0) {  // every tile has parts of its own: the first `longer_tiles` one more
    const unsigned longer = shares.longer_tiles * (shares.tile_parts + 1);
    const bool is_longer = block < longer;
    const unsigned parts = shares.tile_parts + is_longer;
    const unsigned at = is_longer ? block : block - longer;
    const Divisor by = is_longer ? shares.by_longer : shares.by_tile_parts;
    const unsigned tile = at / by, part = at - tile * parts;
    range.first_tile = range.last_tile = static_cast<int>(is_longer ? tile : tile + shares.longer_tiles);
    range.begin = range.first_tile * shares.items + static_cast<int>(part * shares.items / by);
    range.end = range.first_tile * shares.items + static_cast<int>((part + 1) * shares.items / by);
    range.helpers = static_cast<int>(part);
    range.followers = static_cast<int>(parts - 1 - part);
    range.early = 0;
  } else {
    range.begin = static_cast<int>(block * shares.all_items / shares.by_parts);
    range.end = static_cast<int>((block + 1) * shares.all_items / shares.by_parts);
    range.first_tile = static_cast<int>(static_cast<unsigned>(range.begin) / shares.by_items);
    range.last_tile = static_cast<int>(static_cast<unsigned>(range.end - 1) / shares.by_items);
    // The block that has item i is ((i + 1) * parts - 1) / all_items.
    const unsigned tile_begin = static_cast<unsigned>(range.first_tile * shares.items);
    range.helpers = static_cast<int>(block - ((tile_begin + 1) * shares.parts - 1) / shares.by_all_items);
    const unsigned tile_end = static_cast<unsigned>((range.last_tile + 1) * shares.items);
    range.followers = static_cast<int>((tile_end * shares.parts - 1) / shares.by_all_items - block);
    range.early = (block - range.helpers) * shares.all_items / shares.by_parts < tile_begin;
  }
  return range;
}

// The blocks of a shared tile as one of them sees it, in the wgmma kernel. Each leaves its sums in the workspace, but for those that it
// adds up itself: the last of them, `adders`, add up and store a part of the tile each, as many chunks as every other adder or one more.
// A block with an earlier tile is none of them; it is done with this tile long before the others.
struct Meeting {
  int before, after;  // blocks that have earlier, later parts of the tile's K
  int early;          // 1: the first of all has an earlier tile too

  BILLFISH_HD int blocks() const { return before + 1 + after; }
  BILLFISH_HD int adders(int chunks) const {
    const int able = blocks() - early, most = able < kMostAdders ? able : kMostAdders;
    return most < chunks ? most : chunks;
  }
  // This block's number among the adders; negative if it is none.
  BILLFISH_HD int adder(int chunks) const { return before - (blocks() - adders(chunks)); }
  // How many read what this block leaves.
  BILLFISH_HD int takers(int chunks) const { return adders(chunks) - (adder(chunks) >= 0 ? 1 : 0); }
  // The chunks that this block adds up: [first, last).
  BILLFISH_HD int first_chunk(int chunks) const { return adder(chunks) < 0 ? 0 : adder(chunks) * chunks / adders(chunks); }
  BILLFISH_HD int last_chunk(int chunks) const { return adder(chunks) < 0 ? 0 : (adder(chunks) + 1) * chunks / adders(chunks); }

  // An adder waits for blocks after it too. Blocks start in their order, so that at most so many less one of a launch wait for one that
  // has not started, and those that they need are the next to start.
  static constexpr int kMostAdders = 8;
};

BILLFISH_HD inline Meeting meeting_of(const Range& range, int tile) {
  const bool is_first = tile == range.first_tile;
  return {is_first ? range.helpers : 0, tile == range.last_tile ? range.followers : 0, is_first ? range.early : 1};
}

}  // namespace billfish::sm90
