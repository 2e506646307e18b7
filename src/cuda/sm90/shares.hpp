// SPDX-License-Identifier: Apache-2.0
// How blocks share tiles of C: equal parts of all stages, whatever tiles they belong to, or whole blocks dealt to the tiles. The host fills
// it, the kernels walk by it. Plain C++.
//
// Items (parts of K) are numbered tile by tile; a block has a range of them and works from its last tile to its first: what it does for a
// tile that a later block ends comes first, so that the later block finds it ready. The block with the end of a tile's K owns it and waits
// for lower block numbers only, which have started before it: no deadlock, whatever else runs on the device. It adds in the order of the
// blocks: the same bits on every replay. How the sums get there is each kernel's own (stream_sums.cuh, Chunks in wgmma_block.cuh).
#pragma once

#include "core/integers.hpp"

namespace billfish::sm90 {

// Of the wgmma kernel, a flag a sector: a block's sums are in its slot of the workspace.
constexpr int kFlagBytes = 32;

struct Shares {
  int items;              // of a tile: parts of K
  unsigned all_items;     // of all shared tiles; all_items * (parts + 1) < 2^32
  unsigned parts;         // blocks; 0: no tile is shared
  unsigned tile_parts;    // blocks of a tile, or one more; 0: blocks have equal parts of all items
  unsigned longer_tiles;  // the first tiles, which have one block more
};

// A block's part.
struct Range {
  int begin, end;  // items
  int first_tile, last_tile;
  int helpers;  // blocks just before this one that leave sums of first_tile for it
};

BILLFISH_HD inline Range range_of(const Shares& shares, unsigned block) {
  Range range;
  if (shares.tile_parts > 0) {  // every tile has parts of its own: the first `longer_tiles` one more
    const unsigned longer = shares.longer_tiles * (shares.tile_parts + 1);
    const bool is_longer = block < longer;
    const unsigned parts = shares.tile_parts + is_longer;
    const unsigned at = is_longer ? block : block - longer;
    const unsigned tile = at / parts, part = at - tile * parts;
    range.first_tile = range.last_tile = static_cast<int>(is_longer ? tile : tile + shares.longer_tiles);
    range.begin = range.first_tile * shares.items + static_cast<int>(part * shares.items / parts);
    range.end = range.first_tile * shares.items + static_cast<int>((part + 1) * shares.items / parts);
    range.helpers = static_cast<int>(part);
  } else {
    range.begin = static_cast<int>(block * shares.all_items / shares.parts);
    range.end = static_cast<int>((block + 1) * shares.all_items / shares.parts);
    range.first_tile = range.begin / shares.items;
    range.last_tile = (range.end - 1) / shares.items;
    // The block that has item i is ((i + 1) * parts - 1) / all_items.
    const unsigned tile_begin = static_cast<unsigned>(range.first_tile * shares.items);
    range.helpers = static_cast<int>(block - ((tile_begin + 1) * shares.parts - 1) / shares.all_items);
  }
  return range;
}

}  // namespace billfish::sm90
