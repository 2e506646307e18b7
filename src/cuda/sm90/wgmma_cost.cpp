// SPDX-License-Identifier: Apache-2.0
// Called by wgmma_plan.cpp. Fitted to an exhaustive search: H200, u4b8, f16, group 128, nine layer shapes, ten M from 16 to 512, dependent
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
    {0.0, 0.300, 1.319, 0.409, 1.307, 2.0, 0.968},      // 256x8
    {0.0, 0.430, 1.008, 0.335, 1.640, 2.0, 0.942},      // 256x16
    {0.049, 0.325, 0.709, 0.420, 1.762, 1.565, 0.970},  // 128x32
    {2.256, 0.467, 0.427, 0.0, 2.864, 0.0, 0.0},        // 256x32; one block an SM: `shared` is the end of an unsplit tile, to `block`
    {1.761, 0.492, 0.729, 0.583, 1.288, 0.0, 0.0},      // 256x48
    {0.142, 0.343, 1.260, 0.453, 2.025, 1.766, 0.970},  // 128x64
    {1.389, 0.664, 0.413, 0.498, 4.308, 0.0, 0.0},      // 256x64
    {0.0, 0.767, 0.676, 0.518, 2.176, 0.0, 0.0},        // 256x96
    {3.954, 0.438, 0.783, 0.238, 5.720, 0.0, 0.0},      // 256x128
    {11.0, 0.625, 0.248, 0.5, 3.386, 0.0, 0.0},         // 2x128x256
    {3.777, 0.345, 1.267, 0.321, 6.521, 0.0, 0.0},      // 128x256
};

// Blocks that clusters of 1..8 can keep resident on 132 multiprocessors, at one and at two blocks an SM
// (cudaOccupancyMaxActiveClusters, H200): processing clusters of uneven size leave some idle.
constexpr int kResident[2][sm90::kMaxSplits] = {{132, 132, 117, 120, 110, 102, 105, 120}, {264, 264, 237, 248, 235, 234, 224, 240}};

// Blocks with equal shares: a stage of a block, the end of a tile, and what each block adds that leaves sums of the same tile.
struct SharedCost {
  double fixed, stage, end, helper;
};
constexpr SharedCost kSharedCosts[sm90::kPolicies][2] = {
    {{0.0, 0.460, 1.634, 1.029}, {5.108, 0.855, 0.0, 0.326}},      // 256x8, one block an SM and two
    {{1.528, 0.540, 1.573, 0.607}, {3.981, 1.043, 0.834, 0.410}},  // 256x16
    {{1.920, 0.415, 0.661, 0.541}, {2.207, 0.710, 0.857, 0.520}},  // 128x32
    {{3.040, 0.607, 1.026, 0.645}, {}},                            // 256x32
    {{2.471, 0.784, 1.610, 0.976}, {}},                            // 256x48
    {{1.285, 0.560, 1.114, 0.698}, {1.852, 1.071, 1.460, 0.612}},  // 128x64
    {{1.024, 0.896, 2.687, 0.932}, {}},                            // 256x64
    {{0.940, 1.126, 3.637, 1.143}, {}},                            // 256x96
    {{4.816, 0.752, 2.150, 0.835}, {}},                            // 256x128
    {{11.0, 0.750, 0.0, 0.070}, {}},                               // 2x128x256: not fitted; from some 200 stages a block on
    {{8.506, 0.763, 0.0, 0.070}, {}},                              // 128x256
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
