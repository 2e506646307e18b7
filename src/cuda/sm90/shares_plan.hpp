// SPDX-License-Identifier: Apache-2.0
// Who gets which parts of which tiles, decided on the host: pure functions behind the plans of both sm90 kernels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/integers.hpp"
#include "cuda/sm90/shares.hpp"
#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::cuda {

struct ShareWork {
  std::int64_t tiles, items;  // items of a tile
};

// Every tile has blocks of its own, and each of them something to do.
inline bool can_deal(const ShareWork& work, std::int64_t blocks) {
  return work.tiles <= blocks && ceil_div(blocks, work.tiles) <= work.items;
}
// Blocks are dealt to the tiles where that is nearly as even: it spares a block the end of one tile and the start of another, worth so many
// items.
constexpr double kSecondTile = 1.5;
inline bool dealing_is_even(const ShareWork& work, std::int64_t blocks) {
  if (!can_deal(work, blocks)) return false;
  const std::int64_t dealt = ceil_div(work.items, blocks / work.tiles);  // the most of a block
  return static_cast<double>(dealt) <= static_cast<double>(work.tiles * work.items) / static_cast<double>(blocks) + kSecondTile;
}

// A workspace of zeros begins with what has to stay so: slots for sums that say themselves that they are there, the most that any plan for
// a device of so many multiprocessors has, and flags of the others. Those others' slots come behind.
constexpr std::int64_t value_slots_of_sm() {
  std::int64_t most = 0;
  for (const sm90::WgmmaConfig& c : sm90::kConfigs) {
    if (c.by_value()) most = std::max<std::int64_t>(most, c.blocks_per_sm * sm90::kSlotsOfBlock * c.slot_bytes());
  }
  return most;
}
inline std::int64_t flags_offset(std::int64_t multiprocessors) { return multiprocessors * value_slots_of_sm(); }
inline std::int64_t zeros_bytes(std::int64_t multiprocessors) {
  return flags_offset(multiprocessors) + round_up(2 * multiprocessors * sm90::kSlotsOfBlock * sm90::kFlagBytes, 1024);
}

// The kernels count items in 31 bits.
inline bool shares_fit(const ShareWork& work, std::int64_t blocks) {
  return work.tiles * work.items * (blocks + 1) < std::int64_t{1} << 31;
}

inline sm90::Shares shares_of(const ShareWork& work, std::int64_t blocks, bool dealt) {
  sm90::Shares shares{};
  shares.items = static_cast<int>(work.items);
  shares.all_items = static_cast<unsigned>(work.tiles * work.items);
  shares.parts = static_cast<unsigned>(blocks);
  shares.tile_parts = dealt ? static_cast<unsigned>(blocks / work.tiles) : 0;
  shares.longer_tiles = static_cast<unsigned>(blocks % work.tiles);
  shares.by_items = Divisor::by(static_cast<unsigned>(work.items));
  shares.by_all_items = Divisor::by(shares.all_items);
  shares.by_parts = Divisor::by(shares.parts);
  shares.by_longer = Divisor::by(shares.tile_parts + 1);
  if (dealt) shares.by_tile_parts = Divisor::by(shares.tile_parts);
  return shares;
}

// Tiles that `blocks` share so that all have as much: those that do not make whole rounds and, so that a part is not small, one round more.
inline std::int64_t shared_tiles(std::int64_t tiles, std::int64_t blocks) {
  const std::int64_t rest = tiles % blocks;
  return rest == 0 ? 0 : std::min(tiles, rest + blocks);
}

}  // namespace billfish::cuda
