// SPDX-License-Identifier: Apache-2.0
// Called by wgmma_plan.cpp. Fitted to an exhaustive search: H200, u4b8, f16, group 128, nine layer shapes, 13 M from 8 to 1024, dependent
// launches, 2026-11-22 (docs/kernels/sm90-wgmma.md). On average the pick is 0.5 to 3 % off the best that was found.
#include "cuda/sm90/wgmma_cost.hpp"

#include <algorithm>
#include <cmath>

#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::cuda::wgmma {

namespace {

// A stage of a lone block takes `stage`; the more of the chip is busy, the longer: `busy` at one block an SM, `shared` more where blocks
// share SMs.
struct ClusterCost {
  double fixed, stage, busy, shared, block, late, slack;
};
constexpr ClusterCost kClusterCosts[sm90::kPolicies] = {
    {0.0, 0.420, 0.806, 0.396, 1.451, 2.000, 0.935},    // 256x8
    {0.0, 0.377, 0.185, 0.469, 2.513, 2.000, 0.968},    // 128x16
    {0.0, 0.510, 0.693, 0.361, 1.766, 2.000, 0.938},    // 256x16
    {0.033, 0.446, 0.214, 0.451, 2.566, 1.587, 0.970},  // 128x32
    {1.181, 0.396, 0.633, 0.170, 3.603, 0.0, 0.0},      // 256x32; one block an SM: `shared` is the end of an unsplit tile, to `block`
    {1.091, 0.441, 0.942, 0.058, 7.327, 0.0, 0.0},      // 256x48
    {0.173, 0.447, 0.718, 0.483, 2.474, 1.796, 0.970},  // 128x64
    {1.798, 0.642, 0.477, 0.376, 4.054, 0.0, 0.0},      // 256x64
    {0.0, 0.845, 0.540, 0.968, 1.525, 0.0, 0.0},        // 256x96
    {0.967, 0.508, 0.548, 0.296, 7.946, 0.0, 0.0},      // 256x128
    {1.325, 0.504, 0.560, 1.007, 2.495, 0.0, 0.0},      // 2x128x256
    {0.435, 0.386, 1.041, 0.172, 8.826, 0.0, 0.0},      // 128x256
};

// Blocks that clusters of 1..8 can keep resident on 132 multiprocessors, at one and at two blocks an SM
// (cudaOccupancyMaxActiveClusters, H200): processing clusters of uneven size leave some idle.
constexpr int kResident[2][sm90::kMaxSplits] = {{132, 132, 117, 120, 110, 102, 105, 120}, {264, 264, 237, 248, 235, 234, 224, 240}};

// Blocks with equal shares: a stage of a block, the end of a tile, and what each block adds that leaves sums of the same tile.
struct SharedCost {
  double fixed, stage, end, helper;
};
constexpr SharedCost kSharedCosts[sm90::kPolicies][2] = {
    {{0.0, 0.546, 2.467, 0.267}, {0.352, 1.027, 2.624, 0.305}},    // 256x8, one block an SM and two
    {{0.836, 0.325, 1.406, 0.138}, {1.385, 0.563, 1.782, 0.217}},  // 128x16
    {{0.0, 0.574, 3.369, 0.127}, {0.0, 1.076, 4.194, 0.211}},      // 256x16
    {{0.030, 0.402, 3.074, 0.0}, {0.0, 0.694, 4.134, 0.026}},      // 128x32
    {{0.0, 0.585, 5.043, 0.0}, {}},                                // 256x32
    {{0.0, 0.774, 5.875, 0.163}, {}},                              // 256x48
    {{0.0, 0.538, 3.657, 0.0}, {0.0, 1.052, 3.724, 0.203}},        // 128x64
    {{0.0, 0.890, 4.725, 0.237}, {}},                              // 256x64
    {{0.0, 1.161, 5.304, 0.365}, {}},                              // 256x96
    {{0.0, 0.746, 6.810, 0.113}, {}},                              // 256x128
    {{3.194, 0.763, 5.945, 0.0}, {}},                              // 2x128x256
    {{0.0, 0.760, 6.115, 0.112}, {}},                              // 128x256
};

}  // namespace

double cluster_time(const gemm::DeviceFacts& device, int policy, std::int64_t tiles, std::int64_t all_stages, int splits) {
  const ClusterCost& cost = kClusterCosts[policy];
  const int blocks_per_sm = sm90::kConfigs[policy].blocks_per_sm;
  const int abreast = sm90::kConfigs[policy].abreast;
  const double items = static_cast<double>(tiles * splits);  // blocks, or units of blocks abreast
  const double sms = static_cast<double>(device.multiprocessors) / abreast;
  const double resident = kResident[blocks_per_sm - 1][splits * abreast - 1] * sms / 132;
  const double stages = static_cast<double>(ceil_div(all_stages, splits));
  if (blocks_per_sm == 1) {
    const double rounds = std::ceil(items / resident);
    const double end = splits > 1 ? cost.block : cost.block * cost.shared;
    return cost.fixed + (stages * cost.stage * (1 + cost.busy * std::min(1.0, items / sms)) + end) * rounds;
  }
  const double load = items / sms;
  double slower = 1 + cost.busy * std::min(load, 1.0);
  if (load > 1) slower *= 1 + cost.shared * (std::min(load, 2.0) - 1);
  if (load > 2) slower *= load / 2;
  // A launch that takes every slot keeps the next one from prefetching under it.
  if (load < 2) slower *= 1 + cost.late * std::clamp(items / resident - cost.slack, 0.0, 1.0);
  return cost.fixed + (stages * cost.stage + cost.block * (splits > 1 ? 1.0 : 0.5)) * slower;
}

double shared_time(const gemm::DeviceFacts& device, int policy, const ShareWork& work, std::int64_t blocks) {
  const SharedCost& cost = kSharedCosts[policy][blocks > device.multiprocessors];
  const std::int64_t parts = blocks / sm90::kConfigs[policy].abreast;
  const ShareWork shared = {shared_tiles(work.tiles, parts), work.items};
  const double whole = static_cast<double>((work.tiles - shared.tiles) / parts);
  double stages = whole * static_cast<double>(work.items), ends = whole;
  std::int64_t helpers = 0;
  if (dealing_is_even(shared, parts)) {
    stages += static_cast<double>(ceil_div(shared.items, parts / shared.tiles));
    ends += 1;
    helpers = ceil_div(parts, shared.tiles) - 1;
  } else {
    stages += static_cast<double>(ceil_div(shared.tiles * shared.items, parts));
    ends += static_cast<double>(shared.tiles) / static_cast<double>(parts) + 1;
    helpers = ceil_div(parts, shared.tiles);
  }
  return cost.fixed + stages * cost.stage + ends * cost.end + static_cast<double>(helpers) * cost.helper;
}

}  // namespace billfish::cuda::wgmma
