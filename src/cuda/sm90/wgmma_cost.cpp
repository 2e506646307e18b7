// SPDX-License-Identifier: Apache-2.0
// Called by wgmma_plan.cpp. Fitted to an exhaustive search: H200, u4b8, f16, group 128, nine layer shapes, 14 M from 16 to 2048, dependent
// launches, 2026-11-22 (docs/kernels/sm90-wgmma.md). On average the pick is 0 to 5 % off the best that was found, 1 % over all.
// bench/fit_costs.py does it again.
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
    {0.989, 0.372, 0.837, 0.347, 0.916, 5.895, 0.977},  // 256x8
    {0.602, 0.350, 0.185, 0.453, 1.755, 3.503, 0.970},  // 128x16
    {0.516, 0.499, 0.581, 0.312, 1.853, 2.271, 0.970},  // 256x16
    {1.152, 0.405, 0.127, 0.625, 1.627, 2.585, 0.970},  // 128x32
    {1.305, 0.475, 0.188, 0.095, 10.277, 0.0, 0.0},     // 256x32; one block an SM: `shared` is the end of an unsplit tile, to `block`
    {0.611, 0.689, 0.092, 0.440, 4.855, 0.0, 0.0},      // 256x48
    {1.353, 0.451, 0.646, 0.437, 1.771, 2.721, 0.977},  // 128x64
    {1.561, 0.649, 0.323, 0.729, 2.976, 0.0, 0.0},      // 256x64
    {0.043, 0.779, 0.167, 0.524, 5.355, 0.0, 0.0},      // 2x256x64
    {0.195, 0.881, 0.360, 0.857, 1.832, 0.0, 0.0},      // 256x96
    {2.431, 0.505, 0.466, 0.984, 4.106, 0.0, 0.0},      // 256x128
    {0.000, 0.504, 0.461, 1.273, 4.016, 0.0, 0.0},      // 2x128x256
    {2.386, 0.451, 0.708, 0.351, 5.904, 0.0, 0.0},      // 128x256
};

// Blocks that clusters of 1..8 can keep resident on 132 multiprocessors, at one and at two blocks an SM
// (cudaOccupancyMaxActiveClusters, H200): processing clusters of uneven size leave some idle.
constexpr int kResident[2][sm90::kMaxSplits] = {{132, 132, 117, 120, 110, 102, 105, 120}, {264, 264, 237, 248, 235, 234, 224, 240}};

// Blocks with equal shares: a stage of a block, the end of a tile, and what each block adds that leaves sums of the same tile.
struct SharedCost {
  double fixed, stage, end, helper;
};
constexpr SharedCost kSharedCosts[sm90::kPolicies][2] = {
    {{0.300, 0.447, 1.531, 0.231}, {1.774, 0.803, 1.440, 0.192}},  // 256x8, one block an SM and two
    {{1.139, 0.301, 1.534, 0.054}, {1.171, 0.533, 1.844, 0.245}},  // 128x16
    {{0.000, 0.512, 2.520, 0.421}, {0.507, 1.062, 2.267, 0.283}},  // 256x16
    {{1.338, 0.376, 1.886, 0.000}, {2.575, 0.657, 2.262, 0.014}},  // 128x32
    {{1.568, 0.579, 3.022, 0.000}, {}},                            // 256x32
    {{2.938, 0.834, 2.388, 0.091}, {}},                            // 256x48
    {{2.891, 0.476, 1.518, 0.000}, {1.799, 0.909, 1.977, 0.353}},  // 128x64
    {{1.591, 0.898, 2.544, 0.256}, {}},                            // 256x64
    {{1.250, 0.912, 2.931, 0.401}, {}},                            // 2x256x64
    {{0.326, 1.234, 3.560, 0.445}, {}},                            // 256x96
    {{0.000, 0.773, 6.773, 0.072}, {}},                            // 256x128
    {{0.077, 0.765, 3.912, 0.487}, {}},                            // 2x128x256
    {{0.000, 0.813, 4.026, 0.682}, {}},                            // 128x256
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
