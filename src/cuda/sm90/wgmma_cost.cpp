// SPDX-License-Identifier: Apache-2.0
// Called by wgmma_plan.cpp. Fitted to an exhaustive search: H200, u4b8, f16, group 128, nine layer shapes, 14 M from 16 to 2048, dependent
// launches, 2026-11-22 (docs/kernels/sm90-wgmma.md). On average the pick is 0 to 1 % off the best that was found.
// bench/fit_costs.py does it again.
#include "cuda/sm90/wgmma_cost.hpp"

#include <algorithm>
#include <cmath>

#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::cuda::wgmma {

namespace {

// A stage's time; bringing its weights from memory adds to it for one of the tiles along M that need them. 8-bit codes, whose stages are
// half as long: with half the time picks are 2 % off the best, with all of it 12 % (M = 64 and 256, nine layers).
double stage_time(double stage, double memory, const Tiling& tiling) {
  return tiling.part * (stage + memory / static_cast<double>(std::min<std::int64_t>(tiling.along_m, sm90::kTokenTilesDeep)));
}

// A stage of a lone block takes `stage`; the more of the chip is busy, the longer: `busy` at one block an SM, `shared` more where blocks
// share SMs; of variants that have one block an SM, `shared` is the end of a tile that is not split, to `block`.
struct ClusterCost {
  double fixed, stage, busy, shared, block, late, slack, memory;
};
constexpr ClusterCost kClusterCosts[sm90::kPolicies] = {
    {0.989, 0.372, 0.837, 0.347, 0.916, 5.895, 0.977, 0.000},  // 256x8
    {0.000, 0.258, 0.481, 0.491, 1.461, 4.018, 0.977, 0.044},  // 128x16
    {0.012, 0.458, 0.665, 0.412, 1.513, 3.766, 0.993, 0.067},  // 256x16
    {0.000, 0.325, 0.439, 0.468, 1.598, 7.766, 1.031, 0.048},  // 128x32
    {1.340, 0.441, 0.367, 0.000, 9.974, 0.497, 0.001, 0.039},  // 256x32
    {0.767, 0.653, 0.280, 0.313, 3.337, 0.086, 0.001, 0.009},  // 256x48
    {0.000, 0.551, 0.195, 0.597, 2.523, 3.199, 0.977, 0.085},  // 128x64
    {1.284, 0.683, 0.442, 0.431, 3.063, 0.622, 0.001, 0.000},  // 256x64
    {0.273, 0.791, 0.313, 0.639, 3.976, 0.597, 0.001, 0.016},  // 2x256x64
    {0.000, 0.959, 0.317, 0.786, 2.766, 1.024, 0.001, 0.000},  // 256x96
    {0.000, 0.589, 0.427, 0.094, 7.367, 1.379, 0.001, 0.000},  // 256x128
    {0.000, 0.509, 0.559, 0.595, 5.945, 5.856, 0.001, 0.020},  // 2x128x256
    {0.000, 0.544, 0.506, 0.157, 8.762, 2.620, 0.001, 0.000},  // 128x256
};

// Blocks that clusters of 1..8 can keep resident on 132 multiprocessors, at one and at two blocks an SM
// (cudaOccupancyMaxActiveClusters, H200): processing clusters of uneven size leave some idle.
constexpr int kResident[2][sm90::kMaxSplits] = {{132, 132, 117, 120, 110, 102, 105, 120}, {264, 264, 237, 248, 235, 234, 224, 240}};

// Blocks with equal shares: a stage of a block, the end of a tile, and what each block adds that leaves sums of the same tile. At one block
// an SM, and at two.
struct SharedCost {
  double fixed, stage, end, helper, memory;
};
constexpr SharedCost kSharedCosts[sm90::kPolicies][2] = {
    {{0.300, 0.447, 1.531, 0.231, 0.000}, {1.774, 0.803, 1.440, 0.192, 0.000}},  // 256x8
    {{0.000, 0.285, 1.741, 0.204, 0.041}, {0.000, 0.519, 2.130, 0.259, 0.107}},  // 128x16
    {{0.000, 0.534, 2.246, 0.071, 0.156}, {0.003, 0.961, 3.395, 0.168, 0.217}},  // 256x16
    {{0.000, 0.353, 2.663, 0.000, 0.041}, {0.205, 0.668, 2.978, 0.110, 0.103}},  // 128x32
    {{0.010, 0.610, 3.764, 0.000, 0.063}, {}},                                   // 256x32
    {{0.373, 0.817, 3.671, 0.326, 0.107}, {}},                                   // 256x48
    {{0.398, 0.483, 2.609, 0.000, 0.089}, {0.022, 1.000, 2.730, 0.210, 0.138}},  // 128x64
    {{1.029, 0.981, 2.352, 0.155, 0.102}, {}},                                   // 256x64
    {{2.099, 1.043, 2.256, 0.064, 0.097}, {}},                                   // 2x256x64
    {{0.081, 1.262, 3.316, 0.472, 0.045}, {}},                                   // 256x96
    {{0.260, 0.815, 5.195, 0.234, 0.010}, {}},                                   // 256x128
    {{2.857, 0.815, 3.932, 0.220, 0.017}, {}},                                   // 2x128x256
    {{0.544, 0.825, 3.960, 0.394, 0.003}, {}},                                   // 128x256
};

}  // namespace

double cluster_time(const gemm::DeviceFacts& device, int policy, const Tiling& tiling, int splits) {
  const ClusterCost& cost = kClusterCosts[policy];
  const int blocks_per_sm = sm90::kConfigs[policy].blocks_per_sm;
  const int abreast = sm90::kConfigs[policy].abreast;
  const double items = static_cast<double>(tiling.tiles * splits);  // blocks, or units of blocks abreast
  const double sms = static_cast<double>(device.multiprocessors) / abreast;
  const double resident = kResident[blocks_per_sm - 1][splits * abreast - 1] * sms / 132;
  const double stages = static_cast<double>(ceil_div(tiling.stages, splits)), stage = stage_time(cost.stage, cost.memory, tiling);
  if (blocks_per_sm == 1) {
    const double rounds = std::ceil(items / resident);
    const double end = splits > 1 ? cost.block : cost.block * cost.shared;
    return cost.fixed + (stages * stage * (1 + cost.busy * std::min(1.0, items / sms)) + end) * rounds;
  }
  const double load = items / sms;
  double slower = 1 + cost.busy * std::min(load, 1.0);
  if (load > 1) slower *= 1 + cost.shared * (std::min(load, 2.0) - 1);
  if (load > 2) slower *= load / 2;
  // A launch that takes every slot keeps the next one from prefetching under it.
  if (load < 2) slower *= 1 + cost.late * std::clamp(items / resident - cost.slack, 0.0, 1.0);
  return cost.fixed + (stages * stage + cost.block * (splits > 1 ? 1.0 : 0.5)) * slower;
}

double shared_time(const gemm::DeviceFacts& device, int policy, const Tiling& tiling, std::int64_t blocks) {
  const SharedCost& cost = kSharedCosts[policy][blocks > device.multiprocessors];
  const std::int64_t parts = blocks / sm90::kConfigs[policy].abreast;
  const ShareWork shared = {shared_tiles(tiling.tiles, parts), tiling.stages};
  const double whole = static_cast<double>((tiling.tiles - shared.tiles) / parts);
  double stages = whole * static_cast<double>(tiling.stages), ends = whole;
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
  return cost.fixed + stages * stage_time(cost.stage, cost.memory, tiling) + ends * cost.end + static_cast<double>(helpers) * cost.helper;
}

}  // namespace billfish::cuda::wgmma
