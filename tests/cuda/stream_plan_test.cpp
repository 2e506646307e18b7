// SPDX-License-Identifier: Apache-2.0
// Who of the streaming kernel's blocks does what, without a GPU: every item has one block, helpers are counted right, a few tiles are not
// cut into more parts than their owner can add up in the time that it spares, and layers that keep the memory busy have a block a
// multiprocessor.
#include "cuda/sm90/stream_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "cuda/cuda.hpp"
#include "cuda/sm90/scale_rows.hpp"
#include "cuda/sm90/shares_plan.hpp"
#include "cuda/sm90/stream_policy.hpp"
#include "gemm/registry.hpp"

namespace billfish::cuda {
namespace {

gemm::Problem layer(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t group = 128) {
  gemm::Problem p;
  p.m = m, p.n = n, p.k = k, p.group = resolve_group(group, k);
  p.dependent_launch = p.zeroed_workspace = true;
  return p;
}

ShareWork work_of(const gemm::Plan& plan, const gemm::Problem& p) { return {ceil_div(p.n, plan.tile_n), ceil_div(p.k, plan.tile_k)}; }

// Walks the ranges as the blocks do.
void expect_every_item_once(const gemm::Plan& plan, const gemm::Problem& p) {
  const std::string what = gemm::describe(p) + ", " + std::to_string(plan.blocks) + " blocks";
  const ShareWork work = work_of(plan, p);
  const sm90::Shares shares = shares_of(work, plan.blocks, plan.detail[1] != 0);
  std::vector<int> left(static_cast<std::size_t>(work.tiles));  // blocks that leave sums of a tile
  std::int64_t next = 0, most_parts = 0;
  for (unsigned block = 0; block < plan.blocks; ++block) {
    const sm90::Range range = range_of(shares, block);
    ASSERT_EQ(range.begin, next) << what;
    ASSERT_GT(range.end, range.begin) << what;
    ASSERT_EQ(range.first_tile, range.begin / work.items) << what;
    ASSERT_EQ(range.last_tile, (range.end - 1) / work.items) << what;
    next = range.end;
    for (std::int64_t tile = range.last_tile; tile >= range.first_tile; --tile) {
      int& helpers = left[static_cast<std::size_t>(tile)];
      if (range.end < (tile + 1) * work.items) {
        ++helpers;
        continue;
      }
      const int awaited = range.begin > tile * work.items ? range.helpers : 0;
      ASSERT_EQ(awaited, helpers) << what << ": tile " << tile;
      most_parts = std::max<std::int64_t>(most_parts, helpers + 1);
    }
  }
  ASSERT_EQ(next, work.tiles * work.items) << what;
  ASSERT_LE(most_parts, plan.splits) << what;
  ASSERT_GE(plan.workspace_bytes, most_parts > 1 ? plan.blocks * p.m * 128 * 4 : 0) << what;
}

TEST(StreamPlan, EveryItemHasOneBlockAndEveryTileOneOwner) {
  std::mt19937_64 random(20261122);
  constexpr std::int64_t groups[] = {-1, 16, 32, 48, 64, 128, 256};
  const auto size = [&](int most_bits) {
    return static_cast<std::int64_t>(random() % (std::uint64_t{1} << (random() % most_bits + 1))) + 1;
  };
  int few = 0, full = 0;
  for (int i = 0; i < 20000; ++i) {
    gemm::Problem p = layer(1 + static_cast<std::int64_t>(random() % 16), size(15), size(15), groups[random() % 7]);
    p.weight = static_cast<WeightType>(random() % 3);
    gemm::DeviceFacts device = typical_facts(90);
    if (random() % 4 == 0) device.multiprocessors = 1 + static_cast<int>(random() % 200);
    if (!sm90.why_not(p, device).empty() || !stream::takes(p, device)) continue;
    const gemm::Plan plan = stream::plan(p, device);
    expect_every_item_once(plan, p);
    if (testing::Test::HasFatalFailure()) return;
    const ShareWork work = work_of(plan, p);
    const std::int64_t all = std::min<std::int64_t>(work.tiles * work.items, device.multiprocessors);
    if (plan.blocks == all) {
      ++full;
    } else {
      ++few;
      ASSERT_TRUE(plan.detail[1] != 0 && plan.blocks % work.tiles == 0) << "every tile has as many blocks";
      ASSERT_LE(plan.blocks, device.multiprocessors / 2) << "two launches fit side by side";
    }
  }
  EXPECT_GT(few, 2000);
  EXPECT_GT(full, 2000);
}

TEST(StreamPlan, LayersThatKeepTheMemoryBusyHaveABlockAMultiprocessor) {
  std::ifstream file(BILLFISH_SOURCE_DIR "/bench/shapes/h200.txt");
  int layers = 0;
  for (std::string line; std::getline(file, line);) {
    std::int64_t k = 0, n = 0;
    if (line.empty() || line[0] == '#' || !(std::istringstream(line) >> k >> n)) continue;
    ++layers;
    for (const std::int64_t m : {1, 2, 3, 4, 8, 9, 16}) {
      const gemm::Problem p = layer(m, n, k);
      const gemm::DeviceFacts h200 = typical_facts(90);
      const gemm::Plan plan = stream::plan(p, h200);
      const ShareWork work = work_of(plan, p);
      EXPECT_TRUE(plan == stream::plan_of(p, m > 8, 132, dealing_is_even(work, 132))) << n << " x " << k << " at " << m;
    }
  }
  EXPECT_EQ(layers, 9);
}

TEST(StreamPlan, AFewTilesHaveFewParts) {
  const gemm::DeviceFacts h200 = typical_facts(90);
  const auto parts = [&](std::int64_t m, std::int64_t n, std::int64_t k) { return stream::plan(layer(m, n, k), h200).splits; };
  for (const std::int64_t m : {1, 8, 16}) {
    for (const std::int64_t k : {64, 128, 256, 512}) {
      const gemm::Plan plan = stream::plan(layer(m, 200, k), h200);
      EXPECT_EQ(plan.splits, 1) << "items that are done before a sum has travelled";
      EXPECT_EQ(plan.workspace_bytes, 0);
    }
  }
  // 68 items: every part was an item. The more tokens, the more an owner has to fetch.
  EXPECT_LE(parts(1, 64, 8704), 34);
  EXPECT_LE(parts(5, 64, 8704), 17);
  EXPECT_LE(parts(16, 64, 8704), 9);
  EXPECT_GE(parts(16, 64, 8704), 4);
  EXPECT_GE(parts(1, 64, 8704), parts(8, 64, 8704));
  EXPECT_GE(parts(8, 64, 8704), parts(16, 64, 8704));
  // Three tiles of 70 items: 132 blocks were 44 parts.
  EXPECT_LE(parts(10, 320, 8960), 13);
}

TEST(StreamPlan, SumsAreScaledOnceAGroupWhereItemsAreWholeGroups) {
  EXPECT_EQ(sm90::even_groups(8, 4, true), 4);  // group 64, 4 bits
  EXPECT_EQ(sm90::even_groups(8, 2, true), 2);
  EXPECT_EQ(sm90::even_groups(4, 2, true), 2);  // group 32, 8 bits
  EXPECT_EQ(sm90::even_groups(8, 1, true), 1);
  EXPECT_EQ(sm90::even_groups(8, 3, true), 0) << "group 48 ends anywhere in an item";
  EXPECT_EQ(sm90::even_groups(8, 12, true), 0) << "group 192 ends inside every other item";
  EXPECT_EQ(sm90::even_groups(8, 4, false), 0) << "scales of another type than the activations'";
  // What one accumulator takes in, for the error bound.
  const gemm::DeviceFacts h200 = typical_facts(90);
  const gemm::Plan coarse = stream::plan(layer(1, 4096, 4096), h200), fine = stream::plan(layer(1, 4096, 4096, 32), h200);
  EXPECT_EQ(coarse.chain, 128 + 8 + 2 + coarse.splits);
  EXPECT_EQ(fine.chain, 32 + 8 * 4 + 2 + fine.splits);
}

}  // namespace
}  // namespace billfish::cuda
