// SPDX-License-Identifier: Apache-2.0
// Chooses how the sm90 kernel runs a problem: a variant and a number of splits, by a small model of the machine. Pure functions; no device
// is touched. Called by gemm/ through cuda::sm90. The model's numbers are measurements: docs/kernels/sm90-wgmma.md.
#include <algorithm>
#include <cmath>
#include <string>

#include "cuda/cuda.hpp"
#include "cuda/families.hpp"
#include "cuda/sm90/wgmma_plan.hpp"
#include "cuda/sm90/wgmma_policy.hpp"
#include "gemm/registry.hpp"

namespace billfish::cuda {

namespace wgmma {

namespace {

using sm90::kConfigs;
using sm90::WgmmaConfig;

// Clocks of an SM for one block of 64 columns x 16 codes along K, decode included, by variant (H200, two warpgroups).
constexpr double kStepClocks[sm90::kPolicies] = {23.0, 26.0, 31.2, 38.2, 64.1, 128.1};
constexpr double kReadBytesPerClock = 18.1;  // an SM's share of 4.70 TB/s
constexpr double kStartClocks = 1500;        // launch to first decoded stage
constexpr double kExchangeClocks = 1200;     // partial sums across a cluster
constexpr double kStoreClocksPerTile = 1500; // a whole tile's sums to memory

struct Candidate {
  int policy = 0, splits = 1;
  double clocks = 0;
};

double estimate(const gemm::Problem& p, const gemm::DeviceFacts& device, const Candidate& c) {
  const WgmmaConfig& config = kConfigs[c.policy];
  const double sms = device.multiprocessors;
  const std::int64_t tiles = ceil_div(p.m, config.tokens) * ceil_div(p.n, config.columns());
  const std::int64_t items = tiles * c.splits;
  const std::int64_t stages = ceil_div(ceil_div(p.k, config.stage_k), c.splits);
  // Clusters of 4 or 8 do not fill every processing cluster of the chip.
  const double usable = c.splits <= 2 ? sms : std::floor(sms / c.splits) * c.splits;
  const double blocks_per_sm = std::ceil(static_cast<double>(items) / usable);
  const double step = kStepClocks[c.policy] * config.columns() / 64.0;
  const double compute = blocks_per_sm * static_cast<double>(stages) * (config.stage_k / 16.0) * step;
  const double bytes = static_cast<double>(p.n) * static_cast<double>(p.k) * bits_of(p.weight) / 8.0;
  const double busy = std::min(1.0, static_cast<double>(items) / sms);
  const double memory = bytes / (kReadBytesPerClock * sms * busy);
  const bool exchanged = !config.alias_sums || c.splits > 1;
  const double sums = static_cast<double>(config.columns()) * config.tokens * 4.0 * config.groups_k;
  const double finish = exchanged ? kExchangeClocks + blocks_per_sm * sums / 24.0 : blocks_per_sm * kStoreClocksPerTile;
  return kStartClocks + std::max(compute, memory) + finish;
}

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
  return {};
}

gemm::Plan plan(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  Candidate best;
  bool found = false;
  for (int policy = 0; policy < sm90::kPolicies; ++policy) {
    const WgmmaConfig& config = kConfigs[policy];
    const std::int64_t tiles = ceil_div(p.m, config.tokens) * ceil_div(p.n, config.columns());
    const std::int64_t stages = ceil_div(p.k, config.stage_k);
    if (p.batch_invariant && config.groups_k != 1) continue;
    const int most = p.batch_invariant ? 1 : static_cast<int>(std::min<std::int64_t>(sm90::kMaxSplits, stages));
    for (int splits = 1; splits <= most; ++splits) {
      if (tiles * splits > 0x7fffffff) continue;
      Candidate candidate{policy, splits, 0};
      candidate.clocks = estimate(p, device, candidate);
      if (!found || candidate.clocks < best.clocks) {
        best = candidate;
        found = true;
      }
    }
  }
  return plan_of(p, device, best.policy, best.splits);
}

gemm::Plan plan_of(const gemm::Problem& p, const gemm::DeviceFacts& device, int policy, int splits) {
  const WgmmaConfig& config = kConfigs[policy];
  const bool fine = p.group < p.k && p.group % config.stage_k != 0;
  const sm90::SharedMap map = sm90::shared_map(config, bits_of(p.weight), has_zeros(p.weight), fine);
  const std::int64_t tiles = ceil_div(p.m, config.tokens) * ceil_div(p.n, config.columns());
  const bool persistent = config.alias_sums && splits == 1;
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
  plan.blocks = persistent ? std::min<std::int64_t>(tiles, device.multiprocessors) : tiles * splits;
  plan.shared_bytes = map.total;
  plan.dependent_launch = p.dependent_launch;
  plan.detail[0] = fine;
  return plan;
}

}  // namespace wgmma

const gemm::Implementation sm90{
    "sm90",
    DeviceKind::cuda,
    wgmma::why_not,
    wgmma::plan,
    wgmma::run,
    {"fine_groups"},
    {"wgmma::run (cuda/sm90/wgmma_launch.cu)", "wgmma_gemm (cuda/sm90/wgmma_gemm.cuh)", "ptx::wgmma (cuda/ptx/wgmma.cuh)"},
};

}  // namespace billfish::cuda
