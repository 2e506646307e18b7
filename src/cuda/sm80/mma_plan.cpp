// SPDX-License-Identifier: Apache-2.0
// Which problems the sm80 kernel can run and with which configuration: pure functions of the problem and the device's facts.
// Called through gemm::Implementation cuda::sm80; the launch is in mma_launch.cu.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cuda/cuda.hpp"
#include "cuda/families.hpp"
#include "cuda/sm80/mma_policy.hpp"
#include "gemm/registry.hpp"

namespace billfish::cuda {

constexpr gemm::Implementation sm80 = {
    "sm80",
    DeviceKind::cuda,
    mma::why_not,
    mma::plan,
    mma::candidates,
    mma::run,
    {"warps_k", "run_steps", "steps_per_split", "reduce_dependent"},
    {"mma::run (cuda/sm80/mma_launch.cu)", "mma_gemm (cuda/sm80/mma_gemm.cuh)", "ptx::mma_m16n8k16 (cuda/ptx/mma.cuh)"},
};

namespace mma {
namespace {

constexpr std::int64_t kMaxSize = std::numeric_limits<std::int32_t>::max() - 65536;  // room for a tile beyond the end
constexpr std::int64_t kMaxColumns = std::int64_t{1} << 27;                          // 16 rows of 8-bit codes count 2^31 bytes

struct Candidate {
  int policy = 0;
  int warps_m = 1, warps_n = 1, warps_k = 1;
  int run_steps = 8;
  int splits = 1;

  int tokens() const { return 8 * kConfigs[policy].token_tiles; }
  int tile_m() const { return tokens() * warps_m; }
  int tile_n() const { return 64 * warps_n; }
  int warps() const { return warps_m * warps_n * warps_k; }
  std::int64_t shared(int bits) const { return shared_bytes(bits, warps(), tile_m(), tile_n(), warps_k, run_steps); }
  std::int64_t steps_per_split(std::int64_t steps) const {
    return round_up(ceil_div(steps, splits), static_cast<std::int64_t>(warps_k) * run_steps);
  }
};

// How long things take, in clocks of an H200 (2026-11-21, fitted to 3,400 timed plans of nine layers at M = 1 to 64, isolated launches; the
// plan that the model likes best is on average 2 to 3 % slower than the best of them). By policy.
struct Costs {
  double step;                // of a multiprocessor, for 64 columns x 16 k x the tokens of a warp, with enough warps to hide latency
  double lone_step;           // of a warp that is alone on its multiprocessor
  double activations;         // of a step, for every 8 tokens of it, if the block is 64 columns wide
  double start, wave, block;  // once; for every round of blocks; for every block
  double second;              // launch, for the sum over splits
};
constexpr Costs kCosts[kPolicies] = {
    {32, 649, 12.4, 540, 3816, 0, 6448}, {45, 479, 5, 4000, 1700, 590, 2700}, {58, 477, 9, 2500, 1200, 320, 5000}};
constexpr double kBytesPerClock = 18;    // of a multiprocessor's share of memory
constexpr double kSumClocks = 0.06 / 8;  // of an f32 partial sum through shared memory

double estimate(const Candidate& c, const gemm::Problem& problem, const gemm::DeviceFacts& facts) {
  const Costs& costs = kCosts[c.policy];
  const std::int64_t steps = ceil_div(problem.k, 16);
  const double tiles = static_cast<double>(ceil_div(problem.m, c.tile_m()) * ceil_div(problem.n, c.tile_n()));
  const double sms = facts.multiprocessors;
  const int resident = std::max<int>(1, std::min<int>(kConfigs[c.policy].max_threads / (32 * c.warps()),
                                                      static_cast<int>(facts.shared_bytes_per_block / c.shared(bits_of(problem.weight)))));
  const double per_sm = std::ceil(tiles * c.splits / sms);  // blocks on the busiest multiprocessor
  const double together = std::min<double>(per_sm, resident);
  const double steps_per_block = static_cast<double>(c.steps_per_split(steps)) / c.warps_k * c.warps();
  const double step = std::max(costs.step + costs.activations * c.tokens() / 8 / c.warps_n, costs.lone_step / (together * c.warps()));
  const double bytes = static_cast<double>(steps) * 2 * static_cast<double>(problem.n) * bits_of(problem.weight);
  const double split_bytes = c.splits > 1 ? 2.0 * static_cast<double>(workspace_bytes(problem, c.splits)) : 0.0;
  const double memory = (bytes + split_bytes) / (sms * kBytesPerClock);
  const double sums = kSumClocks * together * c.warps_k * c.tile_m() * c.tile_n();
  return std::max(per_sm * steps_per_block * step, memory) + sums + costs.start + costs.wave * std::ceil(per_sm / resident) +
         costs.block * per_sm + (c.splits > 1 ? costs.second + split_bytes / (sms * kBytesPerClock) : 0.0);
}

bool fits(const Candidate& c, const gemm::Problem& problem, const gemm::DeviceFacts& facts) {
  if (32 * c.warps() > kConfigs[c.policy].max_threads || c.shared(bits_of(problem.weight)) > facts.shared_bytes_per_block) return false;
  if (c.splits > 1 && problem.m * ceil_div(problem.n, 1024) > kMaxSize) return false;  // blocks of the second launch
  if (c.splits > 1 && ceil_div(problem.m, c.tile_m()) * ceil_div(problem.n, c.tile_n()) * c.splits > kMaxSize) return false;
  if (problem.zeroed_workspace && c.splits > 1) return false;  // partial sums would stay in it
  return problem.workspace_bytes < 0 || workspace_bytes(problem, c.splits) <= problem.workspace_bytes;
}

// The fastest fill of the machine is looked for among all of these. A batch-invariant product cuts K as every other m does
// (mma_policy.hpp): how many tokens and columns a block has changes no sum.
template <class Visit>
void each_candidate(const gemm::Problem& problem, const gemm::DeviceFacts& facts, Visit&& visit) {
  const int wanted = problem.m <= 8 ? 0 : problem.m <= 16 ? 1 : 2;
  const auto most_m = [](int policy) { return policy < 2 ? 1 : 4; };
  if (problem.batch_invariant) {
    for (int policy = 0; policy <= wanted; ++policy) {
      for (int warps_m = 1; warps_m <= most_m(policy); warps_m *= 2) {
        for (int warps_n = 1; warps_n <= 4; warps_n *= 2) {
          const Candidate c = {policy, warps_m, warps_n, batch_invariant_warps_k(problem.n), kBatchInvariantRunSteps, 1};
          if (fits(c, problem, facts)) visit(c);
        }
      }
    }
    return;
  }
  const std::int64_t steps = ceil_div(problem.k, 16);
  for (int warps_m = 1; warps_m <= most_m(wanted); warps_m *= 2) {
    for (int warps_n = 1; warps_n <= 4; warps_n *= 2) {
      for (int warps_k = 1; warps_k <= 16; warps_k *= 2) {
        for (const int run_steps : {32, 16, 8}) {
          for (int splits = 1; splits <= 8; ++splits) {
            const Candidate c = {wanted, warps_m, warps_n, warps_k, run_steps, splits};
            if (!fits(c, problem, facts)) continue;
            if (splits > 1 && (splits - 1) * c.steps_per_split(steps) >= steps) continue;  // the last would be empty
            visit(c);
          }
        }
      }
    }
  }
}

Candidate choose(const gemm::Problem& problem, const gemm::DeviceFacts& facts) {
  Candidate best;
  double best_clocks = std::numeric_limits<double>::infinity();
  each_candidate(problem, facts, [&](const Candidate& c) {
    const double clocks = estimate(c, problem, facts);
    if (clocks >= best_clocks) return;
    best = c;
    best_clocks = clocks;
  });
  return best;
}

}  // namespace

std::string why_not(const gemm::Problem& problem, const gemm::DeviceFacts& facts) {
  if (facts.kind != DeviceKind::cuda) return "it needs a CUDA device";
  if (facts.architecture < 80) return "the device is sm_" + std::to_string(facts.architecture) + "; sm_80 and later are supported";
  if (problem.a == ElementType::f32) return "a is f32; f16 and bf16 are supported on CUDA";
  if (problem.scale == ElementType::f32) return "scales are f32; f16 and bf16 are supported";
  if (problem.uneven_groups) return "g_idx gives groups of uneven size; only groups of equal size are supported on CUDA";
  if (problem.group < problem.k && problem.group % 16 != 0) {
    return "group is " + std::to_string(problem.group) + "; multiples of 16 and one group per column are supported on CUDA";
  }
  if (problem.m > kMaxSize || problem.n > kMaxSize || problem.k > kMaxSize) {
    return "m, n and k are " + std::to_string(problem.m) + ", " + std::to_string(problem.n) + " and " + std::to_string(problem.k) +
           "; each may be at most " + std::to_string(kMaxSize);
  }
  if (problem.n > kMaxColumns) return "n is " + std::to_string(problem.n) + "; at most " + std::to_string(kMaxColumns) + " are supported";
  if (ceil_div(problem.m, 8) * ceil_div(problem.n, 64) > kMaxSize) {
    return "m x n is " + std::to_string(problem.m) + " x " + std::to_string(problem.n) + "; that is more tiles than a launch can have";
  }
  if (facts.shared_bytes_per_block < 64 * 1024) {
    return "the device allows " + std::to_string(facts.shared_bytes_per_block) + " bytes of shared memory a block; 65536 are needed";
  }
  return {};
}

namespace {

gemm::Plan plan_of(const Candidate& c, const gemm::Problem& problem, const gemm::DeviceFacts& facts) {
  gemm::Plan plan;
  plan.implementation = &sm80;
  plan.policy = c.policy;
  plan.policy_name = kPolicyNames[c.policy];
  plan.tile_m = c.tile_m();
  plan.tile_n = c.tile_n();
  plan.tile_k = 16 * c.warps_k * c.run_steps;
  plan.stages = 2;
  plan.splits = c.splits;
  plan.threads = 32 * c.warps();
  plan.blocks = ceil_div(problem.m, c.tile_m()) * ceil_div(problem.n, c.tile_n()) * c.splits;
  plan.shared_bytes = c.shared(bits_of(problem.weight));
  plan.workspace_bytes = workspace_bytes(problem, c.splits);
  plan.dependent_launch = problem.dependent_launch && facts.architecture >= 90;
  plan.detail[kWarpsK] = c.warps_k;
  plan.detail[kRunSteps] = c.run_steps;
  plan.detail[kStepsPerSplit] = c.steps_per_split(ceil_div(problem.k, 16));
  plan.detail[kReduceDependent] = c.splits > 1 && facts.architecture >= 90;
  // One accumulator takes in a run's products, then a sum a run; the parts of K follow.
  const std::int64_t runs = ceil_div(plan.detail[kStepsPerSplit], c.warps_k * c.run_steps);
  const std::int64_t folds =
      runs * ceil_div(c.run_steps * std::int64_t{16}, std::max<std::int64_t>(1, std::min(problem.group, std::int64_t{16} * c.run_steps))) +
      runs;
  plan.chain = std::min<std::int64_t>(problem.group, 16 * c.run_steps) + folds + c.warps_k + c.splits + 2;
  return plan;
}

}  // namespace

gemm::Plan plan(const gemm::Problem& problem, const gemm::DeviceFacts& facts) { return plan_of(choose(problem, facts), problem, facts); }

std::vector<gemm::Plan> candidates(const gemm::Problem& problem, const gemm::DeviceFacts& facts) {
  std::vector<gemm::Plan> plans;
  each_candidate(problem, facts, [&](const Candidate& c) { plans.push_back(plan_of(c, problem, facts)); });
  return plans;
}

}  // namespace mma
}  // namespace billfish::cuda
