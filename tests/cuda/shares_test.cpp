// SPDX-License-Identifier: Apache-2.0
// Who adds up what where blocks share tiles (cuda/sm90/shares.hpp): proved for the host's arithmetic, which is the kernel's.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "cuda/sm90/shares_plan.hpp"

namespace billfish::cuda {
namespace {

struct Part {
  unsigned block;
  sm90::Meeting meeting;
};

// The blocks of every tile, as each of them sees it.
std::map<int, std::vector<Part>> parts_of(const sm90::Shares& shares) {
  std::map<int, std::vector<Part>> tiles;
  for (unsigned block = 0; block < shares.parts; ++block) {
    const sm90::Range range = range_of(shares, block);
    for (int tile = range.first_tile; tile <= range.last_tile; ++tile) tiles[tile].push_back({block, meeting_of(range, tile)});
  }
  return tiles;
}

void expect_every_chunk_once(const sm90::Shares& shares, int chunks, const std::string& what) {
  for (const auto& [tile, parts] : parts_of(shares)) {
    const auto blocks = static_cast<int>(parts.size());
    if (blocks == 1) continue;  // stores all of it
    const std::string where = what + ", tile " + std::to_string(tile) + ", " + std::to_string(chunks) + " chunks";
    int next = 0, adders = 0;
    for (int i = 0; i < blocks; ++i) {
      const sm90::Meeting& meeting = parts[i].meeting;
      ASSERT_EQ(meeting.before, i) << where;
      ASSERT_EQ(meeting.after, blocks - 1 - i) << where;
      ASSERT_EQ(meeting.early, parts[0].meeting.early) << where << ": all must agree";
      ASSERT_EQ(parts[i].block, parts[0].block + static_cast<unsigned>(i)) << where << ": slots lie side by side";
      if (meeting.adder(chunks) < 0) {
        ASSERT_EQ(meeting.first_chunk(chunks), meeting.last_chunk(chunks)) << where;
        ASSERT_EQ(meeting.takers(chunks), meeting.adders(chunks)) << where;
        continue;
      }
      ++adders;
      ASSERT_EQ(meeting.first_chunk(chunks), next) << where;
      ASSERT_GT(meeting.last_chunk(chunks), next) << where;
      ASSERT_EQ(meeting.takers(chunks), meeting.adders(chunks) - 1) << where;
      next = meeting.last_chunk(chunks);
    }
    ASSERT_EQ(next, chunks) << where;
    ASSERT_EQ(adders, parts[0].meeting.adders(chunks)) << where;
    ASSERT_LE(adders, sm90::Meeting::kMostAdders) << where;
    // A block with an earlier tile comes back to this one no more.
    const sm90::Range first = range_of(shares, parts[0].block);
    ASSERT_EQ(parts[0].meeting.early, first.first_tile < tile ? 1 : 0) << where;
    if (parts[0].meeting.early == 1) {
      ASSERT_LT(parts[0].meeting.adder(chunks), 0) << where;
    }
  }
}

TEST(Shares, EveryChunkOfASharedTileHasOneAdder) {
  std::mt19937_64 random(20261122);
  int dealt = 0, even = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::int64_t blocks = random() % 3 == 0 ? 132 : static_cast<std::int64_t>(random() % 270) + 1;
    const ShareWork work = {static_cast<std::int64_t>(random() % (2 * blocks)) + 1, static_cast<std::int64_t>(random() % 100) + 1};
    if (work.tiles * work.items < blocks || !shares_fit(work, blocks)) continue;
    for (const bool deal : {false, true}) {
      if (deal && !can_deal(work, blocks)) continue;
      ++(deal ? dealt : even);
      const std::string what = std::to_string(work.tiles) + " tiles x " + std::to_string(work.items) + " items, " + std::to_string(blocks) +
                               " blocks, " + (deal ? "dealt" : "even");
      for (const int chunks : {1, 2, 4, 6, 8}) {
        expect_every_chunk_once(shares_of(work, blocks, deal), chunks, what);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(dealt, 500);
  EXPECT_GT(even, 1500);
}

// Sums that are values lie before what need not be zeros, whatever plans follow each other in a workspace.
TEST(Shares, ValuesAndFlagsLieAmongTheZeros) {
  for (const std::int64_t multiprocessors : {1, 66, 114, 132, 144}) {
    EXPECT_LT(flags_offset(multiprocessors), zeros_bytes(multiprocessors));
    for (const sm90::WgmmaConfig& config : sm90::kConfigs) {
      const std::int64_t slots = multiprocessors * config.blocks_per_sm * sm90::kSlotsOfBlock;
      if (config.by_value()) {
        EXPECT_LE(slots * config.slot_bytes(), flags_offset(multiprocessors));
      } else {
        EXPECT_LE(flags_offset(multiprocessors) + slots * sm90::kFlagBytes, zeros_bytes(multiprocessors));
      }
    }
  }
}

}  // namespace
}  // namespace billfish::cuda
