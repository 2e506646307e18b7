// SPDX-License-Identifier: Apache-2.0
// Chooses how the sm90 kernel runs a problem: a variant and a number of splits, by a small model of the machine, or lists all. Pure
// functions; no device is touched. Called by gemm/ through cuda::sm90.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "cuda/cuda.hpp"
#include "cuda/families.hpp"
#include "cuda/sm90/shares_plan.hpp"
#include "cuda/sm90/wgmma_cost.hpp"
#include "cuda/sm90/wgmma_plan.hpp"
#include "cuda/sm90/wgmma_policy.hpp"
#include "gemm/registry.hpp"

namespace billfish::cuda {

namespace wgmma {

namespace {

using sm90::WgmmaConfig;

sm90::Grain grain_of(const gemm::Problem& p, const WgmmaConfig& config) {
  return p.group < p.k ? sm90::grain_of(config.stage_k / 16, static_cast<int>(p.group / 16)) : sm90::Grain::stage;
}

// `cluster`: clusters split K.
sm90::SharedMap map_of(const gemm::Problem& p, const WgmmaConfig& config, bool cluster) {
  return sm90::shared_map(config, bits_of(p.weight), has_zeros(p.weight), grain_of(p, config), cluster);
}

// Tiles of a block, or of the blocks that stand abreast.
std::int64_t tiles_of(const gemm::Problem& p, const WgmmaConfig& config) {
  return ceil_div(p.m, config.tokens) * ceil_div(p.n, config.columns() * config.abreast);
}

// Whether tiles can be counted in the grid's and the kernel's 32-bit integers.
bool launchable(const gemm::Problem& p, const WgmmaConfig& config, int splits) { return tiles_of(p, config) * splits <= 0x7fffffff; }

// Whether blocks may share the tiles that do not make whole rounds, and there are some.
bool can_share(const gemm::Problem& p, const ShareWork& work, std::int64_t parts) {
  if (!p.zeroed_workspace || p.batch_invariant) return false;
  const ShareWork shared = {shared_tiles(work.tiles, parts), work.items};
  return shared.tiles > 0 && shared.tiles * shared.items >= parts && shares_fit(shared, parts) && work.tiles <= 0x7fffffff;
}

// Clusters of a persistent grid that are resident at once; 0: the device has too few multiprocessors for one.
std::int64_t resident_clusters(const gemm::DeviceFacts& device, const WgmmaConfig& config) {
  return std::int64_t{device.multiprocessors} * config.blocks_per_sm / config.abreast;
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
  if (p.act_order) return "act order needs gathered activations: sm80 gathers a few rows as it loads them";
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

namespace {

// One way to run a problem: a variant with a cluster of so many splits a tile, or with so many blocks that share tiles (splits is 0).
struct Way {
  int policy, splits;
  std::int64_t blocks;
  Tiling tiling;
};

template <class Visit>
void each_way(const gemm::Problem& p, const gemm::DeviceFacts& device, Visit&& visit) {
  for (int policy = 0; policy < sm90::kPolicies; ++policy) {
    const WgmmaConfig config = sm90::config_of(policy, bits_of(p.weight));
    // The same bits for every M: variants that round alike, and never a split.
    if (p.batch_invariant && config.scale_sums) continue;
    if (grain_of(p, config) == sm90::Grain::steps && !config.any_group) continue;
    const Tiling tiling = {tiles_of(p, config), ceil_div(p.k, config.stage_k), ceil_div(p.m, config.tokens),
                           static_cast<double>(config.stage_k) / sm90::kConfigs[policy].stage_k};
    const sm90::SharedMap map = map_of(p, config, true);
    const int most = p.batch_invariant ? 1 : static_cast<int>(std::min<std::int64_t>(sm90::kMaxSplits, tiling.stages));
    for (int splits = 1; splits <= (config.splits_k() ? most : 1); ++splits) {
      if (!launchable(p, config, splits)) break;
      if (!sm90::splits_fit(config, map, splits)) continue;
      if (splits > 1 && config.blocks_per_sm == 1 &&
          static_cast<double>(tiling.tiles * splits) > kMaxSplitRounds * static_cast<double>(device.multiprocessors)) {
        break;
      }
      if (resident_clusters(device, config) > 0) visit(Way{policy, splits, 0, tiling});
    }
    for (int per_sm = 1; per_sm <= config.blocks_per_sm; ++per_sm) {
      const std::int64_t blocks = std::int64_t{per_sm} * device.multiprocessors, parts = blocks / config.abreast;
      if (parts > 0 && can_share(p, {tiling.tiles, tiling.stages}, parts)) visit(Way{policy, 0, blocks, tiling});
    }
  }
}

gemm::Plan plan_by(const Way& way, const gemm::Problem& p, const gemm::DeviceFacts& device) {
  return way.splits > 0 ? plan_of(p, device, way.policy, way.splits) : shared_plan_of(p, device, way.policy, way.blocks);
}

bool has_room(const gemm::Problem& p, const gemm::Plan& plan) { return p.workspace_bytes < 0 || plan.workspace_bytes <= p.workspace_bytes; }

}  // namespace

gemm::Plan plan(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  gemm::Plan best;
  double best_time = std::numeric_limits<double>::infinity();
  each_way(p, device, [&](const Way& way) {
    const double time =
        way.splits > 0 ? cluster_time(device, way.policy, way.tiling, way.splits) : shared_time(device, way.policy, way.tiling, way.blocks);
    if (time >= best_time) return;
    const gemm::Plan candidate = plan_by(way, p, device);
    if (!has_room(p, candidate)) return;
    best_time = time;
    best = candidate;
  });
  return best;
}

std::vector<gemm::Plan> candidates(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  std::vector<gemm::Plan> plans;
  each_way(p, device, [&](const Way& way) {
    const gemm::Plan candidate = plan_by(way, p, device);
    if (has_room(p, candidate)) plans.push_back(candidate);
  });
  return plans;
}

namespace {

gemm::Plan common_plan(const gemm::Problem& p, int policy, bool cluster) {
  const WgmmaConfig config = sm90::config_of(policy, bits_of(p.weight));
  const sm90::SharedMap map = map_of(p, config, cluster);
  gemm::Plan plan;
  plan.implementation = &cuda::sm90;
  plan.policy = policy;
  plan.policy_name = sm90::kPolicyNames[policy];
  plan.tile_m = config.tokens;
  plan.tile_n = config.columns();
  plan.tile_k = config.stage_k;
  plan.stages = map.stages;
  plan.threads = config.threads();
  plan.shared_bytes = map.total;
  plan.dependent_launch = p.dependent_launch;
  plan.detail[0] = static_cast<int>(grain_of(p, config));
  return plan;
}

// A part's stages one after the other, or a stage's products and then the stages' sums; in the end the parts.
std::int64_t chain_of(const gemm::Problem& p, const WgmmaConfig& config, std::int64_t stages, int splits) {
  const bool scaled_sums = config.scale_sums && grain_of(p, config) == sm90::Grain::stage;
  return (scaled_sums ? config.stage_k + stages : stages * config.stage_k) + splits;
}

}  // namespace

gemm::Plan plan_of(const gemm::Problem& p, const gemm::DeviceFacts& device, int policy, int splits) {
  const WgmmaConfig config = sm90::config_of(policy, bits_of(p.weight));
  const std::int64_t tiles = tiles_of(p, config);
  gemm::Plan plan = common_plan(p, policy, splits > 1);
  plan.splits = splits;
  plan.cluster = splits * config.abreast;
  // Without a split the grid is persistent. Where the next launch is held back, idle blocks come with this one, so that there is one for
  // each place and none of the others share a multiprocessor; where it is not, they were a loss (up to 60 % with a few tiles).
  const std::int64_t units = std::max(1, device.multiprocessors / config.abreast);
  const std::int64_t stages = ceil_div(p.k, config.stage_k);
  const std::int64_t places = config.held_for > 0 && stages > plan.stages ? round_up(tiles, units) : tiles;
  plan.blocks = (splits == 1 ? std::min(places, resident_clusters(device, config)) : tiles * splits) * config.abreast;
  plan.chain = chain_of(p, config, ceil_div(stages, splits), splits);
  return plan;
}

gemm::Plan shared_plan_of(const gemm::Problem& p, const gemm::DeviceFacts& device, int policy, std::int64_t blocks) {
  const WgmmaConfig config = sm90::config_of(policy, bits_of(p.weight));
  const std::int64_t parts = blocks / config.abreast;
  const ShareWork work = {shared_tiles(tiles_of(p, config), parts), ceil_div(p.k, config.stage_k)};
  gemm::Plan plan = common_plan(p, policy, false);
  plan.blocks = parts * config.abreast;
  plan.cluster = config.abreast;
  const std::int64_t slots = plan.blocks * sm90::kSlotsOfBlock;
  plan.detail[3] = device.multiprocessors;
  if (work.tiles > 0) plan.workspace_bytes = (config.by_value() ? 0 : zeros_bytes(device.multiprocessors)) + slots * config.slot_bytes();
  plan.detail[1] = work.tiles > 0 && dealing_is_even(work, parts);
  plan.detail[2] = work.tiles;
  plan.splits = work.tiles > 0 ? static_cast<int>(std::min(work.items, ceil_div(parts, work.tiles) + (plan.detail[1] != 0 ? 0 : 1))) : 1;
  plan.chain = chain_of(p, config, work.items, plan.splits);
  return plan;
}

}  // namespace wgmma

}  // namespace billfish::cuda
