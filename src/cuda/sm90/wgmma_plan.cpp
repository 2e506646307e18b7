// SPDX-License-Identifier: Apache-2.0
// Chooses how the sm90 kernel runs a problem: a variant and a number of splits, by a small model of the machine. Pure functions; no device
// is touched. Called by gemm/ through cuda::sm90. The model's numbers are measurements: docs/kernels/sm90-wgmma.md.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>

#include "cuda/cuda.hpp"
#include "cuda/families.hpp"
#include "cuda/sm90/wgmma_plan.hpp"
#include "cuda/sm90/wgmma_policy.hpp"
#include "gemm/registry.hpp"

namespace billfish::cuda {

namespace wgmma {

namespace {

using sm90::WgmmaConfig;

// More than one row of scales in a stage.
bool is_fine(const gemm::Problem& p, const WgmmaConfig& config) { return p.group < p.k && p.group % config.stage_k != 0; }

sm90::SharedMap map_of(const gemm::Problem& p, const WgmmaConfig& config) {
  return sm90::shared_map(config, bits_of(p.weight), has_zeros(p.weight), is_fine(p, config));
}

// Microseconds of a variant, fitted to an exhaustive search (H200, u4b8, f16, group 128, nine layer shapes, dependent launches,
// 2026-11-21, every variant in its own steady state; on average the pick is 1 % off the best found at M <= 16, 3 to 6 % at M >= 32).
// A stage of a lone block takes `stage`; the more of the chip is busy, the longer: `busy` at one block an SM, `shared` more where blocks
// share SMs.
struct Cost {
  double fixed, stage, busy, shared, block, late, slack;
};
constexpr Cost kCosts[sm90::kPolicies] = {
    {0.0, 0.453, 0.645, 0.434, 1.893, 2.0, 0.963},      // 256x8
    {0.0, 0.657, 0.236, 0.427, 3.022, 2.0, 0.973},      // 256x16
    {0.0, 0.483, 0.213, 0.565, 2.773, 2.0, 0.943},      // 128x32
    {0.705, 0.619, 0.255, 0.538, 3.296, 1.376, 0.970},  // 128x64
    {0.0, 0.732, 0.320, 1.386, 5.613, 0.0, 0.0},        // 256x64; here and below `shared` is the end of an unsplit tile, to `block`
    {0.822, 0.563, 0.347, 0.220, 6.490, 0.0, 0.0},      // 256x128
    {3.127, 0.498, 0.600, 0.0, 5.727, 0.0, 0.0},        // 128x256
};

// Blocks that clusters of 1..8 can keep resident on 132 multiprocessors, at one and at two blocks an SM
// (cudaOccupancyMaxActiveClusters, H200): processing clusters of uneven size leave some idle.
constexpr int kResident[2][sm90::kMaxSplits] = {{132, 132, 117, 120, 110, 102, 105, 120}, {264, 264, 237, 248, 235, 234, 224, 240}};

std::int64_t tiles_of(const gemm::Problem& p, const WgmmaConfig& config) {
  return ceil_div(p.m, config.tokens) * ceil_div(p.n, config.columns());
}

// Whether tiles can be counted in the grid's and the kernel's 32-bit integers.
bool launchable(const gemm::Problem& p, const WgmmaConfig& config, int splits) { return tiles_of(p, config) * splits <= 0x7fffffff; }

struct Candidate {
  int policy = 0, splits = 1;
  double time = 0;
};

double estimate(const gemm::DeviceFacts& device, const WgmmaConfig& config, const Candidate& c, std::int64_t tiles,
                std::int64_t all_stages) {
  const Cost& cost = kCosts[c.policy];
  const double items = static_cast<double>(tiles * c.splits);
  const double sms = device.multiprocessors;
  const double resident = kResident[config.blocks_per_sm - 1][c.splits - 1] * sms / 132;
  const double stages = static_cast<double>(ceil_div(all_stages, c.splits));
  if (config.blocks_per_sm == 1) {
    const double rounds = std::ceil(items / resident);
    const double end = c.splits > 1 ? cost.block : cost.block * cost.shared;
    return cost.fixed + (stages * cost.stage * (1 + cost.busy * std::min(1.0, items / sms)) + end) * rounds;
  }
  const double load = items / sms;
  double slower = 1 + cost.busy * std::min(load, 1.0);
  if (load > 1) slower *= 1 + cost.shared * (std::min(load, 2.0) - 1);
  if (load > 2) slower *= load / 2;
  // A launch that takes every slot keeps the next one from prefetching under it.
  if (load < 2) slower *= 1 + cost.late * std::clamp(items / resident - cost.slack, 0.0, 1.0);
  return cost.fixed + (stages * cost.stage + cost.block * (c.splits > 1 ? 1.0 : 0.5)) * slower;
}

// Splitting a tile that is one of many rounds of them costs more than it evens out.
constexpr double kMaxSplitRounds = 2;

}  // namespace

std::string why_not(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  if (device.kind != DeviceKind::cuda) return "runs on CUDA devices";
  if (device.architecture != 90) return "needs an architecture 9.0 device (wgmma), this is " + std::to_string(device.architecture);
  if (p.a == ElementType::f32) return "activations must be f16 or bf16, not f32";
  if (p.scale == ElementType::f32) return "scales must be f16 or bf16, not f32";
  if (p.weight == WeightType::u8) return "8-bit codes with stored zeros are not supported: u4b8, u4 and u8b128 are";
  if (p.group < p.k && p.group % 16 != 0) return "group " + std::to_string(p.group) + " is not a multiple of 16";
  if (p.act_order) return "act order needs gathered activations: sm80 gathers them";
  if (p.uneven_groups) return "groups of uneven size";
  if (p.wide_scales) return "scale * code leaves the 16-bit range: sm80 keeps the scale on the f32 accumulator";
  if (!p.aligned_a) return "A and its row stride must be aligned to 16 bytes";
  if (p.k == 0) return "K is 0";
  if (p.m > (std::int64_t{1} << 30) || p.n > (std::int64_t{1} << 30) || p.k > (std::int64_t{1} << 30)) return "a size is beyond 2^30";
  if (!launchable(p, sm90::config_of(sm90::kPolicies - 1, bits_of(p.weight)), 1)) {
    return "m x n is " + std::to_string(p.m) + " x " + std::to_string(p.n) + "; that is more tiles than a launch can have";
  }
  return {};
}

gemm::Plan plan(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  Candidate best;
  bool found = false;
  for (int policy = 0; policy < sm90::kPolicies; ++policy) {
    const WgmmaConfig config = sm90::config_of(policy, bits_of(p.weight));
    // The same bits for every M: variants that round alike, and never a split.
    if (p.batch_invariant && config.scale_sums) continue;
    const std::int64_t tiles = tiles_of(p, config);
    const std::int64_t stages = ceil_div(p.k, config.stage_k);
    const sm90::SharedMap map = map_of(p, config);
    const int most = p.batch_invariant ? 1 : static_cast<int>(std::min<std::int64_t>(sm90::kMaxSplits, stages));
    for (int splits = 1; splits <= most; ++splits) {
      if (!launchable(p, config, splits) || !sm90::splits_fit(config, map, splits)) break;
      if (splits > 1 && config.blocks_per_sm == 1 &&
          static_cast<double>(tiles * splits) > kMaxSplitRounds * static_cast<double>(device.multiprocessors)) {
        break;
      }
      Candidate candidate{policy, splits, 0};
      candidate.time = estimate(device, config, candidate, tiles, stages);
      if (!found || candidate.time < best.time) {
        best = candidate;
        found = true;
      }
    }
  }
  return plan_of(p, device, best.policy, best.splits);
}

gemm::Plan plan_of(const gemm::Problem& p, const gemm::DeviceFacts& device, int policy, int splits) {
  const WgmmaConfig config = sm90::config_of(policy, bits_of(p.weight));
  const sm90::SharedMap map = map_of(p, config);
  const std::int64_t tiles = tiles_of(p, config);
  const bool persistent = sm90::sums_whole(config, splits);
  gemm::Plan plan;
  plan.implementation = &cuda::sm90;
  plan.policy = policy;
  plan.policy_name = sm90::kPolicyNames[policy];
  plan.tile_m = config.tokens;
  plan.tile_n = config.columns();
  plan.tile_k = config.stage_k;
  plan.stages = map.stages;
  plan.splits = splits;
  plan.cluster = splits;
  plan.threads = config.threads();
  plan.blocks = persistent ? std::min<std::int64_t>(tiles, device.multiprocessors * config.blocks_per_sm) : tiles * splits;
  plan.shared_bytes = map.total;
  plan.dependent_launch = p.dependent_launch;
  // A part's stages one after the other, or a stage's products and then the stages' sums; in the end the parts.
  const std::int64_t own_stages = ceil_div(ceil_div(p.k, config.stage_k), splits);
  const bool scaled_sums = config.scale_sums && !is_fine(p, config);
  plan.chain = (scaled_sums ? config.stage_k + own_stages : own_stages * config.stage_k) + splits;
  plan.detail[0] = is_fine(p, config);
  return plan;
}

}  // namespace wgmma

}  // namespace billfish::cuda
