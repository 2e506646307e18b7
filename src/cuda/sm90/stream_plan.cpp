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

// One block a multiprocessor: with fewer, two of one launch meet on a multiprocessor while others have none (docs/kernels/sm90-stream.md).
std::int64_t blocks_of(const ShareWork& work, std::int64_t multiprocessors) { return std::min(work.tiles * work.items, multiprocessors); }

bool can_take(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  if (!p.zeroed_workspace || p.batch_invariant || policy_of(p) < 0 || !shares_fit(work_of(p), device.multiprocessors)) return false;
  return p.workspace_bytes < 0 || plan(p, device).workspace_bytes <= p.workspace_bytes;
}

// Above 8 tokens mma.sync needs more power than wgmma for the same layer, and a launch of more items than this lives long enough to be
// held to it: 28672 x 8192 at M = 16, 109 items, takes 44.7 us here and 37.2 there; 8192 x 10240, 39 items, 16.2 and 16.4.
constexpr std::int64_t kMostItems = 48;

}  // namespace

bool takes(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  const ShareWork work = work_of(p);
  if (p.m > 8 && work.tiles * work.items > kMostItems * device.multiprocessors) return false;
  return can_take(p, device);
}

gemm::Plan plan(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  const ShareWork work = work_of(p);
  const std::int64_t blocks = blocks_of(work, device.multiprocessors);
  return plan_of(p, policy_of(p), blocks, dealing_is_even(work, blocks));
}

std::vector<gemm::Plan> candidates(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  if (!can_take(p, device)) return {};
  const ShareWork work = work_of(p);
  const std::int64_t blocks = blocks_of(work, device.multiprocessors);
  std::vector<gemm::Plan> plans = {plan_of(p, policy_of(p), blocks, false)};
  if (can_deal(work, blocks)) plans.push_back(plan_of(p, policy_of(p), blocks, true));
  return plans;
}

gemm::Plan plan_of(const gemm::Problem& p, int policy, std::int64_t blocks, bool dealt) {
  const StreamConfig config = sm90::kStreamConfigs[policy];
  const int rows = p.group < p.k ? sm90::rows_touched(static_cast<int>(item_k(p) / 16), static_cast<int>(p.group / 16)) : 0;
  const sm90::StreamMap map = sm90::stream_map(config, bits_of(p.weight), has_zeros(p.weight), rows, static_cast<int>(p.m));
  const ShareWork work = work_of(p);
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
  // A group's products, then a team's groups, then teams and blocks.
  const std::int64_t own_items = std::min(work.items, ceil_div(work.tiles * work.items, blocks));
  plan.chain = plan.tile_k + own_items * std::max(rows, 1) + config.teams + plan.splits;
  plan.detail[0] = p.group < p.k && p.group % item_k(p) != 0;
  plan.detail[1] = dealt;
  return plan;
}

}  // namespace billfish::cuda::stream
