// SPDX-License-Identifier: Apache-2.0
// Called by wgmma_plan.cpp. Fitted to an exhaustive search: H200, u4b8, f16, group 128, nine layer shapes, 13 M from 8 to 1024, dependent
// launches, 2026-11-22 (docs/kernels/sm90-wgmma.md). On average the pick is 0 to 3 % off the best that was found.
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
    {0.0, 0.435, 0.745, 0.400, 1.417, 2.000, 0.920},    // 256x8
    {0.0, 0.404, 0.093, 0.486, 2.497, 1.997, 0.970},    // 128x16
    {0.0, 0.515, 0.687, 0.317, 1.663, 2.000, 0.920},    // 256x16
    {0.030, 0.540, 0.002, 0.433, 2.749, 1.131, 0.970},  // 128x32
    {1.425, 0.393, 0.701, 0.0, 3.686, 0.0, 0.0},        // 256x32; one block an SM: `shared` is the end of an unsplit tile, to `block`
    {0.612, 0.451, 0.902, 0.981, 1.053, 0.0, 0.0},      // 256x48
    {0.009, 0.574, 0.313, 0.479, 2.918, 1.353, 0.977},  // 128x64
    {1.761, 0.624, 0.525, 0.324, 3.753, 0.0, 0.0},      // 256x64
    {0.0, 0.868, 0.512, 0.635, 1.834, 0.0, 0.0},        // 256x96
    {0.967, 0.508, 0.548, 0.296, 7.946, 0.0, 0.0},      // 256x128
    {0.551, 0.561, 0.415, 1.009, 2.410, 0.0, 0.0},      // 2x128x256
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
    {{0.058, 0.567, 2.565, 0.223}, {0.0, 1.090, 2.898, 0.282}},    // 256x8, one block an SM and two
    {{0.399, 0.332, 1.404, 0.233}, {1.385, 0.600, 1.782, 0.217}},  // 128x16
    {{0.0, 0.598, 2.933, 0.163}, {0.0, 1.120, 3.795, 0.204}},      // 256x16
    {{0.0, 0.407, 2.970, 0.0}, {0.0, 0.696, 4.013, 0.016}},        // 128x32
    {{0.0, 0.591, 4.814, 0.0}, {}},                                // 256x32
    {{0.0, 0.780, 5.549, 0.233}, {}},                              // 256x48
    {{0.009, 0.524, 3.728, 0.0}, {0.0, 1.034, 3.829, 0.159}},      // 128x64
    {{0.0, 0.883, 4.891, 0.200}, {}},                              // 256x64
    {{0.0, 1.176, 5.091, 0.380}, {}},                              // 256x96
    {{0.0, 0.751, 6.708, 0.107}, {}},                              // 256x128
    {{13.0, 0.715, 2.5, 0.1}, {}},                                 // 2x128x256: not fitted; from some 200 stages a block on
    {{0.0, 0.757, 6.115, 0.106}, {}},                              // 128x256
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
