// SPDX-License-Identifier: Apache-2.0
// Called by wgmma_plan.cpp. Fitted to an exhaustive search: H200, u4b8, f16, group 128, fifteen layer shapes, M = 24 to 2048, dependent
// launches, 2026-11-21 (docs/kernels/sm90-wgmma.md). On average the pick is 1 to 5 % off the best that was found.
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
    {0.0, 0.453, 0.645, 0.434, 1.893, 2.0, 0.963},      // 256x8
    {0.078, 0.421, 0.307, 0.496, 2.515, 1.717, 0.933},  // 128x16; not measured
    {0.0, 0.657, 0.236, 0.427, 3.022, 2.0, 0.973},      // 256x16
    {0.078, 0.421, 0.307, 0.496, 2.515, 1.717, 0.933},  // 128x24; not measured
    {0.078, 0.421, 0.307, 0.496, 2.515, 1.717, 0.933},  // 128x32
    {0.078, 0.421, 0.307, 0.496, 2.515, 1.717, 0.933},  // 128x32-p2; not measured
    {0.0, 0.657, 0.236, 0.427, 3.022, 2.0, 0.973},      // 256x32-w; not measured
    {0.272, 0.703, 0.284, 0.633, 4.543, 0.0, 0.0},      // 256x32-p2; not measured
    {0.272, 0.703, 0.284, 0.633, 4.543, 0.0, 0.0},      // 256x32-g4; not measured
    {0.045, 0.524, 0.461, 0.423, 3.316, 1.930, 0.970},  // 128x48; not measured
    {0.272, 0.703, 0.284, 0.633, 4.543, 0.0, 0.0},      // 256x48; not measured
    {0.045, 0.524, 0.461, 0.423, 3.316, 1.930, 0.970},  // 128x64
    {0.272, 0.703, 0.284, 0.633, 4.543, 0.0, 0.0},      // 256x64; here and below `shared` is the end of an unsplit tile, to `block`
    {0.272, 0.703, 0.284, 0.633, 4.543, 0.0, 0.0},      // 256x64-b2; not measured
    {0.272, 0.703, 0.284, 0.633, 4.543, 0.0, 0.0},      // 256x64-g4; not measured
    {0.033, 0.85, 0.408, 0.486, 6.0, 0.0, 0.0},         // 256x96; not measured
    {0.033, 0.522, 0.408, 0.486, 7.337, 0.0, 0.0},      // 256x128
    {0.0, 0.503, 0.485, 0.379, 7.681, 0.0, 0.0},        // 128x192; not measured
    {0.0, 0.503, 0.485, 0.379, 7.681, 0.0, 0.0},        // 128x256
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},
    {1e9},  // abreast: not measured yet
};

// Blocks that clusters of 1..8 can keep resident on 132 multiprocessors, at one and at two blocks an SM
// (cudaOccupancyMaxActiveClusters, H200): processing clusters of uneven size leave some idle.
constexpr int kResident[2][sm90::kMaxSplits] = {{132, 132, 117, 120, 110, 102, 105, 120}, {264, 264, 237, 248, 235, 234, 224, 240}};

// Blocks with equal shares: a stage of a block, the end of a tile, and what each block adds that leaves sums of the same tile.
struct SharedCost {
  double fixed, stage, end, helper;
};
constexpr SharedCost kSharedCosts[sm90::kPolicies][2] = {
    {{3.8, 0.9, 0.5, 0.15}, {5.5, 1.1, 0.5, 0.15}},                // 256x8
    {{3.818, 0.431, 0.0, 0.154}, {5.462, 0.678, 0.0, 0.137}},      // 128x16; not measured
    {{3.8, 0.9, 0.5, 0.15}, {5.0, 1.11, 0.5, 0.3}},                // 256x16
    {{3.818, 0.431, 0.0, 0.154}, {5.462, 0.678, 0.0, 0.137}},      // 128x24; not measured
    {{3.818, 0.431, 0.0, 0.154}, {5.462, 0.678, 0.0, 0.137}},      // 128x32, one block an SM and two
    {{3.818, 0.431, 0.0, 0.154}, {5.462, 0.678, 0.0, 0.137}},      // 128x32-p2; not measured
    {{3.8, 0.9, 0.5, 0.15}, {5.0, 1.11, 0.5, 0.3}},                // 256x32-w; not measured
    {{3.559, 0.883, 1.187, 0.624}, {}},                            // 256x32-p2; not measured
    {{3.559, 0.883, 1.187, 0.624}, {}},                            // 256x32-g4; not measured
    {{3.359, 0.548, 0.815, 0.290}, {5.031, 0.923, 0.436, 0.301}},  // 128x48; not measured
    {{3.559, 0.883, 1.187, 0.624}, {}},                            // 256x48; not measured
    {{3.359, 0.548, 0.815, 0.290}, {5.031, 0.923, 0.436, 0.301}},  // 128x64
    {{3.559, 0.883, 1.187, 0.624}, {}},                            // 256x64
    {{3.559, 0.883, 1.187, 0.624}, {}},                            // 256x64-b2; not measured
    {{3.559, 0.883, 1.187, 0.624}, {}},                            // 256x64-g4; not measured
    {{3.5, 1.18, 2.0, 0.7}, {}},                                   // 256x96; not measured
    {{3.480, 0.725, 2.596, 0.818}, {}},                            // 256x128
    {{2.396, 0.747, 2.151, 1.097}, {}},                            // 128x192; not measured
    {{2.396, 0.747, 2.151, 1.097}, {}},                            // 128x256
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
    {{1e9}, {1e9}},
};

}  // namespace

double cluster_time(const gemm::DeviceFacts& device, int policy, std::int64_t tiles, std::int64_t all_stages, int splits) {
  const ClusterCost& cost = kClusterCosts[policy];
  const int blocks_per_sm = sm90::kConfigs[policy].blocks_per_sm;
  const double items = static_cast<double>(tiles * splits);
  const double sms = device.multiprocessors;
  const double resident = kResident[blocks_per_sm - 1][splits - 1] * sms / 132;
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
