// SPDX-License-Identifier: Apache-2.0
// Called by wgmma_plan.cpp. Fitted to exhaustive searches: H200, u4b8, f16, group 128, dependent launches, nine layer shapes at ten M from
// 16 to 1024 and fourteen small or thin ones at seven M from 12 to 1000, 2026-11-22 and 23 (bench/results/nvidia-h200-2026-11-23-tune, and
// docs/kernels/sm90-wgmma.md). On average the pick is 0.5 % off the best that was found, for small ones 3 %.
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
    {0.989, 0.372, 0.837, 0.347, 0.916, 5.895, 0.977, 0.000},   // 256x8
    {1.370, 0.226, 0.720, 0.536, 0.528, 3.434, 0.987, 0.048},   // 128x16
    {0.222, 0.525, 0.447, 0.446, 2.249, 4.689, 0.982, 0.004},   // 256x16
    {0.481, 0.574, 0.118, 1.234, 2.499, 2.177, 0.455, 0.052},   // 384x16
    {0.015, 0.448, 0.190, 0.387, 2.186, 2.957, 0.983, 0.078},   // 128x32
    {1.125, 0.477, 0.242, 0.122, 10.876, 3.345, 0.267, 0.005},  // 256x32
    {0.995, 0.593, 0.304, 0.295, 4.923, 0.341, 0.414, 0.011},   // 256x48
    {4.259, 0.183, 1.882, 1.046, 0.058, 4.105, 1.200, 0.016},   // 128x64
    {2.163, 0.383, 0.385, 1.686, 0.446, 2.797, 1.198, 0.002},   // 2x128x64
    {1.227, 0.523, 0.954, 0.336, 4.426, 2.695, 0.261, 0.002},   // 256x64
    {0.895, 0.268, 1.667, 0.418, 3.597, 0.718, 0.030, 0.027},   // 192x64
    {1.366, 0.562, 0.627, 0.293, 3.606, 0.284, 0.087, 0.002},   // 192x96
    {2.820, 0.646, 0.193, 0.053, 13.672, 0.191, 1.200, 0.002},  // 256x128
    {0.812, 0.431, 0.344, 0.528, 3.146, 0.230, 0.005, 0.014},   // 192x128
    {4.849, 0.655, 0.072, 0.167, 3.452, 2.083, 0.105, 0.111},   // 2x128x256
    {0.273, 0.554, 0.374, 0.163, 12.334, 0.839, 0.455, 0.002},  // 128x256
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
    {{0.854, 0.322, 1.514, 0.097, 0.001}, {2.488, 0.567, 0.750, 0.119, 0.030}},  // 128x16
    {{0.002, 0.485, 3.049, 0.078, 0.121}, {0.002, 1.028, 3.500, 0.196, 0.142}},  // 256x16
    {{0.271, 0.695, 4.404, 0.055, 0.048}, {}},                                   // 384x16
    {{0.064, 0.358, 3.735, 0.080, 0.004}, {1.760, 0.711, 2.140, 0.191, 0.002}},  // 128x32
    {{0.874, 0.630, 3.378, 0.147, 0.027}, {}},                                   // 256x32
    {{3.718, 0.831, 0.751, 0.215, 0.084}, {}},                                   // 256x48
    {{0.002, 0.422, 3.779, 0.180, 0.096}, {2.198, 1.040, 1.093, 0.299, 0.081}},  // 128x64
    {{0.823, 0.535, 2.736, 0.044, 0.005}, {2.110, 1.072, 1.106, 0.260, 0.072}},  // 2x128x64
    {{3.890, 0.983, 1.669, 0.161, 0.005}, {}},                                   // 256x64
    {{2.740, 0.785, 0.872, 0.130, 0.014}, {}},                                   // 192x64
    {{1.776, 0.986, 0.999, 0.596, 0.020}, {}},                                   // 192x96
    {{1.599, 0.845, 4.901, 0.036, 0.019}, {}},                                   // 256x128
    {{0.150, 0.624, 3.834, 0.320, 0.036}, {}},                                   // 192x128
    {{6.447, 0.789, 1.951, 0.002, 0.052}, {}},                                   // 2x128x256
    {{0.682, 0.791, 4.849, 0.114, 0.074}, {}},                                   // 128x256
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
