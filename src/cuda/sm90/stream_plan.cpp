// SPDX-License-Identifier: Apache-2.0
// Chooses how the streaming kernel runs a problem. Pure functions; no device is touched. Called by family.cpp.
#include "cuda/sm90/stream_plan.hpp"

#include <algorithm>

#include "cuda/cuda.hpp"
#include "cuda/sm90/scale_rows.hpp"
#include "cuda/sm90/shares_plan.hpp"
#include "cuda/sm90/stream_policy.hpp"
#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::cuda::stream {

namespace {

using sm90::StreamConfig;

std::int64_t item_k(const gemm::Problem& p) { return sm90::stream_item_k(bits_of(p.weight)); }

// Variants come in order of their tokens; -1: too many tokens.
int policy_of(const gemm::Problem& p) {
  for (int policy = 0; policy < sm90::kStreamPolicies; ++policy) {
    if (p.m <= sm90::kStreamConfigs[policy].tokens) return policy;
  }
  return -1;
}

ShareWork work_of(const gemm::Problem& p) { return {ceil_div(p.n, sm90::kStreamColumns), ceil_div(p.k, item_k(p))}; }

// Blocks, dealt to the tiles or with equal shares of all items.
struct Cut {
  std::int64_t blocks;
  bool dealt;
};

// Of a block.
std::int64_t most_items(const ShareWork& work, std::int64_t blocks, bool dealt) {
  return dealt ? ceil_div(work.items, blocks / work.tiles) : ceil_div(work.tiles * work.items, blocks);
}

// Measured in microseconds on an H200 (u4b8, f16, group 128, dependent launches, M = 1 to 15, 110 problems, 2026-11-21): two items, of
// which each team has one; the owner of a tile waits for what was left last; and for every further kStreamAtOnce blocks that leave sums.
constexpr double kPairOfItems[sm90::kStreamPolicies] = {0.4, 0.55}, kMeeting = 0.7, kFurtherBlocks = 0.4;

// Of a block with `items` that adds up the sums of `helpers` others; what every launch takes is left out.
double time_of(const gemm::Problem& p, std::int64_t items, std::int64_t helpers) {
  const double time = kPairOfItems[policy_of(p)] * static_cast<double>(ceil_div(items, 2));
  if (helpers == 0) return time;
  const int at_once = sm90::kStreamAtOnce << sm90::stream_collector_bits(static_cast<int>(p.m), static_cast<int>(helpers));
  const std::int64_t rounds = ceil_div(helpers, std::int64_t{at_once});
  const std::int64_t passes = ceil_div(p.m, 8);  // of 256 threads over the sums
  return time + kMeeting + kFurtherBlocks * static_cast<double>(rounds * passes - 1);
}

// Parts of every one of a few tiles that still leave half of the multiprocessors free.
std::int64_t most_few_parts(const ShareWork& work, std::int64_t multiprocessors) {
  return std::min(work.items, multiprocessors / 2 / work.tiles);
}

// One block a multiprocessor: with fewer, two of one launch meet on a multiprocessor while others have none (docs/kernels/sm90-stream.md).
// With half as many or less there is room for two launches side by side, and a few tiles are better off with few parts: a part spares the
// others items and costs the owner.
Cut cut_of(const gemm::Problem& p, std::int64_t multiprocessors) {
  const ShareWork work = work_of(p);
  Cut best = {std::min(work.tiles * work.items, multiprocessors), false};
  best.dealt = dealing_is_even(work, best.blocks);
  const std::int64_t most_parts = std::min(work.items, ceil_div(best.blocks, work.tiles) + (best.dealt ? 0 : 1));
  double best_time = time_of(p, most_items(work, best.blocks, best.dealt), most_parts - 1);
  for (std::int64_t parts = 1; parts <= most_few_parts(work, multiprocessors); ++parts) {
    const double time = time_of(p, ceil_div(work.items, parts), parts - 1);
    if (time >= best_time) continue;
    best_time = time;
    best = {work.tiles * parts, true};
  }
  return best;
}

bool can_take(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  if (!p.zeroed_workspace || p.batch_invariant || policy_of(p) < 0 || !shares_fit(work_of(p), device.multiprocessors)) return false;
  return p.workspace_bytes < 0 || plan(p, device).workspace_bytes <= p.workspace_bytes;
}

// Above 8 tokens the wgmma kernel is faster from some items a multiprocessor on: mma.sync takes more clocks and power. At M = 16 and 4096 x
// 4096, 8 items, 6.3 us here and 5.2 there, 2048 x 11008, 11 items, 6.7 and 6.2, 14336 x 4096, 27 items, 13.1 and 11.4; groups of 32 are
// alike (4096 x 4096 7.1 and 5.7, 8192 x 57344 96 and 82), and so are 8-bit codes, whose items have half the K (4096 x 4096, 16 items, 7.8
// and 6.9, 4096 x 6144 9.4 and 9.0, 8192 x 8192 20.2 and 20.2).
constexpr std::int64_t kMostItems = 5, kMostItemsOf8Bits = 10;

// Of the ring. A block with few items leaves two of them for after the dependency wait: with all of them on their way before it, the next
// launch's copies come between this one and its activations (4096 x 4096, M = 1, 8 items: 4.80 us with 8 slots, 4.53 with 6, 4.75 with 4).
int slots_for(std::int64_t items) {
  constexpr std::int64_t kLeft = 2, kFewest = 4;
  return static_cast<int>(std::clamp<std::int64_t>(items - kLeft, kFewest, sm90::kStreamMaxSlots));
}

}  // namespace

bool takes(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  const ShareWork work = work_of(p);
  const std::int64_t most = (bits_of(p.weight) == 8 ? kMostItemsOf8Bits : kMostItems) * device.multiprocessors;
  if (p.m > 8 && work.tiles * work.items > most) return false;
  return can_take(p, device);
}

gemm::Plan plan(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  const Cut cut = cut_of(p, device.multiprocessors);
  return plan_of(p, policy_of(p), cut.blocks, cut.dealt);
}

std::vector<gemm::Plan> candidates(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  if (!can_take(p, device)) return {};
  const ShareWork work = work_of(p);
  const std::int64_t most = std::min<std::int64_t>(work.tiles * work.items, device.multiprocessors);
  std::vector<gemm::Plan> plans = {plan_of(p, policy_of(p), most, false)};
  if (can_deal(work, most)) plans.push_back(plan_of(p, policy_of(p), most, true));
  for (std::int64_t parts = 1; parts <= most_few_parts(work, device.multiprocessors); ++parts) {
    if (work.tiles * parts != most) plans.push_back(plan_of(p, policy_of(p), work.tiles * parts, true));
  }
  return plans;
}

gemm::Plan plan_of(const gemm::Problem& p, int policy, std::int64_t blocks, bool dealt) {
  const StreamConfig config = sm90::kStreamConfigs[policy];
  const int rows = p.group < p.k ? sm90::rows_touched(static_cast<int>(item_k(p) / 16), static_cast<int>(p.group / 16)) : 0;
  const ShareWork work = work_of(p);
  const sm90::StreamMap map = sm90::stream_map(config, bits_of(p.weight), has_zeros(p.weight), rows, static_cast<int>(p.m),
                                               slots_for(most_items(work, blocks, dealt)));
  gemm::Plan plan;
  plan.implementation = &cuda::sm90;
  plan.policy = sm90::kPolicies + policy;  // after the wgmma kernel's
  plan.policy_name = sm90::kStreamPolicyNames[policy];
  plan.tile_m = config.tokens;
  plan.tile_n = sm90::kStreamColumns;
  plan.tile_k = static_cast<int>(item_k(p));
  plan.stages = map.slots;
  plan.splits = static_cast<int>(std::min(work.items, ceil_div(blocks, work.tiles) + (dealt ? 0 : 1)));
  plan.threads = config.threads();
  plan.blocks = blocks;
  plan.shared_bytes = map.total;
  plan.workspace_bytes = work.tiles % blocks == 0 ? 0 : blocks * p.m * sm90::kStreamColumns * 4;  // else blocks share tiles
  plan.dependent_launch = p.dependent_launch;
  // A group's products as far as they are in one item, then a team's groups, then teams and blocks.
  const std::int64_t own_items = std::min(work.items, most_items(work, blocks, dealt));
  plan.chain = std::min<std::int64_t>(p.group, plan.tile_k) + own_items * std::max(rows, 1) + config.teams + plan.splits;
  plan.detail[0] = p.group < p.k && p.group % item_k(p) != 0;
  plan.detail[1] = dealt;
  return plan;
}

}  // namespace billfish::cuda::stream
