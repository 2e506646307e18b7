// SPDX-License-Identifier: Apache-2.0
// Called by wgmma_plan.cpp. Fitted to an exhaustive search: H200, u4b8, f16, group 128, nine layer shapes, ten M from 16 to 1024, dependent
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
    {0.989, 0.372, 0.837, 0.347, 0.916, 5.895, 0.977, 0.000},   // 256x8
    {0.045, 0.295, 0.401, 0.517, 1.374, 4.710, 0.989, 0.020},   // 128x16
    {0.157, 0.506, 0.494, 0.533, 1.720, 3.481, 0.983, 0.009},   // 256x16
    {0.000, 0.589, 0.216, 1.035, 1.995, 4.916, 0.993, 0.038},   // 384x16
    {0.000, 0.326, 0.480, 0.505, 1.727, 3.882, 1.000, 0.033},   // 128x32
    {0.626, 0.479, 0.274, 0.117, 9.442, 4.118, 0.001, 0.000},   // 256x32
    {0.470, 0.653, 0.254, 0.208, 2.195, 0.076, 0.001, 0.039},   // 256x48
    {0.533, 0.301, 0.849, 0.789, 1.859, 3.209, 0.987, 0.046},   // 128x64
    {0.380, 0.277, 0.941, 0.915, 0.000, 1.596, 1.001, 0.075},   // 2x128x64
    {1.106, 0.734, 0.376, 0.000, 2.771, 1.083, 0.001, 0.000},   // 256x64
    {0.599, 0.571, 0.306, 0.269, 2.428, 0.708, 0.001, 0.001},   // 192x64
    {0.000, 0.694, 0.346, 0.405, 1.700, 0.246, 0.001, 0.000},   // 192x96
    {0.772, 0.604, 0.365, 0.000, 4.297, 1.706, 0.001, 0.000},   // 256x128
    {0.279, 0.427, 0.373, 0.000, 0.000, 5.985, 0.001, 0.005},   // 192x128
    {0.298, 0.566, 0.407, 0.171, 2.892, 0.812, 0.001, 0.003},   // 2x128x256
    {0.000, 0.574, 0.407, 0.000, 10.826, 0.433, 0.001, 0.000},  // 128x256
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
    {{0.000, 0.295, 1.799, 0.141, 0.026}, {0.287, 0.555, 2.060, 0.227, 0.056}},  // 128x16
    {{0.000, 0.516, 2.459, 0.063, 0.102}, {0.000, 1.013, 3.134, 0.212, 0.140}},  // 256x16
    {{0.000, 0.668, 3.769, 0.041, 0.113}, {}},                                   // 384x16
    {{0.505, 0.340, 2.010, 0.000, 0.087}, {0.823, 0.669, 2.809, 0.066, 0.056}},  // 128x32
    {{0.095, 0.604, 3.872, 0.000, 0.056}, {}},                                   // 256x32
    {{2.145, 0.838, 2.351, 0.099, 0.091}, {}},                                   // 256x48
    {{0.532, 0.429, 2.611, 0.083, 0.085}, {0.030, 0.976, 2.682, 0.159, 0.160}},  // 128x64
    {{1.030, 0.496, 2.076, 0.007, 0.061}, {0.795, 0.997, 2.712, 0.083, 0.114}},  // 2x128x64
    {{1.585, 0.940, 2.063, 0.226, 0.048}, {}},                                   // 256x64
    {{0.491, 0.746, 1.547, 0.402, 0.112}, {}},                                   // 192x64
    {{1.063, 0.948, 1.788, 0.506, 0.000}, {}},                                   // 192x96
    {{1.135, 0.794, 4.950, 0.030, 0.060}, {}},                                   // 256x128
    {{1.438, 0.593, 2.894, 0.205, 0.011}, {}},                                   // 192x128
    {{2.795, 0.811, 3.541, 0.447, 0.000}, {}},                                   // 2x128x256
    {{2.667, 0.803, 3.305, 0.292, 0.022}, {}},                                   // 128x256
};

// A chip that has been at its power limit for a while is slower for who moves more bytes, by what a search by turns does not show: of two
// runs of the whole benchmark, blocks abreast took 3 to 9 % less than the same tiles without (K of 14336 and 28672, M from 512 on), which
// such a search finds level. Bytes of codes and activations out of L2 for a token, a column and a k; and the sums of tiles that are shared,
// where multiprocessors that have nothing to do cost little, because the others may be faster for it.
constexpr double kHeat = 6.5, kSharedHeat = 0.02;
constexpr double kCool = 50, kHot = 300;  // us: shorter launches pay nothing, longer ones all of it

double held_by_power(int policy, double time, bool shares) {
  const sm90::WgmmaConfig& c = sm90::kConfigs[policy];
  const double bytes = (2.0 * c.tokens / c.abreast + 0.5 * c.columns()) / (c.tokens * c.columns());
  const double heat = kHeat * bytes + (shares ? kSharedHeat : 0);
  return time * (1 + heat * std::clamp((time - kCool) / (kHot - kCool), 0.0, 1.0));
}

double cool_cluster_time(const gemm::DeviceFacts& device, int policy, const Tiling& tiling, int splits) {
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

double cool_shared_time(const gemm::DeviceFacts& device, int policy, const Tiling& tiling, std::int64_t blocks) {
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

}  // namespace

double cluster_time(const gemm::DeviceFacts& device, int policy, const Tiling& tiling, int splits) {
  return held_by_power(policy, cool_cluster_time(device, policy, tiling, splits), false);
}

double shared_time(const gemm::DeviceFacts& device, int policy, const Tiling& tiling, std::int64_t blocks) {
  return held_by_power(policy, cool_shared_time(device, policy, tiling, blocks), true);
}

}  // namespace billfish::cuda::wgmma
