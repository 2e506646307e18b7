// SPDX-License-Identifier: Apache-2.0
// Called by wgmma_plan.cpp. Fitted to exhaustive searches: H200, u4b8, f16, group 128, dependent launches, nine layer shapes at ten M from
// 16 to 1024 and fourteen small or thin ones at seven M from 12 to 1000, 2026-11-22 (bench/results/nvidia-h200-2026-11-22-tune, and
// docs/kernels/sm90-wgmma.md). On average the pick is 1 % off the best that was found, for small ones 5 %.
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
    {1.244, 0.258, 0.548, 0.587, 0.795, 11.390, 1.035, 0.000},  // 128x16
    {1.838, 0.507, 0.512, 0.607, 0.778, 3.802, 0.985, 0.000},   // 256x16
    {0.882, 0.530, 0.264, 0.952, 2.593, 4.514, 0.993, 0.058},   // 384x16
    {0.338, 0.375, 0.420, 0.359, 1.878, 8.219, 0.995, 0.000},   // 128x32
    {1.115, 0.415, 0.348, 0.151, 10.099, 2.260, 0.001, 0.039},  // 256x32
    {1.081, 0.612, 0.255, 0.442, 3.482, 0.225, 0.001, 0.069},   // 256x48
    {0.639, 0.394, 0.518, 0.744, 2.526, 2.568, 0.977, 0.000},   // 128x64
    {1.474, 0.291, 0.766, 0.948, 1.125, 4.058, 1.170, 0.051},   // 2x128x64
    {1.300, 0.731, 0.313, 0.469, 3.277, 2.189, 0.001, 0.000},   // 256x64
    {1.144, 0.500, 0.408, 0.483, 2.880, 0.312, 0.001, 0.001},   // 192x64
    {0.979, 0.679, 0.282, 0.529, 2.631, 0.111, 0.129, 0.001},   // 192x96
    {1.462, 0.725, 0.139, 0.408, 3.884, 0.316, 0.030, 0.000},   // 256x128
    {1.250, 0.363, 0.616, 0.500, 3.141, 0.218, 0.001, 0.000},   // 192x128
    {2.878, 0.520, 0.523, 0.376, 7.130, 2.795, 0.001, 0.000},   // 2x128x256
    {1.669, 0.747, 0.102, 0.432, 3.616, 2.009, 0.001, 0.000},   // 128x256
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
    {{1.050, 0.318, 1.476, 0.109, 0.000}, {1.058, 0.566, 2.018, 0.224, 0.000}},  // 128x16
    {{0.054, 0.507, 2.827, 0.078, 0.101}, {0.000, 1.076, 3.206, 0.219, 0.105}},  // 256x16
    {{0.000, 0.745, 3.231, 0.157, 0.070}, {}},                                   // 384x16
    {{1.410, 0.385, 0.925, 0.346, 0.039}, {1.607, 0.741, 1.469, 0.250, 0.000}},  // 128x32
    {{0.830, 0.660, 2.865, 0.085, 0.024}, {}},                                   // 256x32
    {{3.467, 0.844, 0.958, 0.079, 0.136}, {}},                                   // 256x48
    {{0.000, 0.474, 2.280, 0.335, 0.065}, {0.867, 1.037, 1.555, 0.330, 0.069}},  // 128x64
    {{0.457, 0.541, 1.828, 0.329, 0.042}, {1.237, 1.046, 1.540, 0.330, 0.078}},  // 2x128x64
    {{2.853, 1.031, 1.170, 0.180, 0.008}, {}},                                   // 256x64
    {{0.931, 0.779, 1.280, 0.355, 0.019}, {}},                                   // 192x64
    {{2.409, 0.967, 0.882, 0.391, 0.001}, {}},                                   // 192x96
    {{3.052, 0.804, 3.575, 0.045, 0.037}, {}},                                   // 256x128
    {{2.511, 0.611, 1.829, 0.281, 0.013}, {}},                                   // 192x128
    {{1.521, 0.820, 4.231, 0.078, 0.009}, {}},                                   // 2x128x256
    {{1.135, 0.803, 4.711, 0.103, 0.034}, {}},                                   // 128x256
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
