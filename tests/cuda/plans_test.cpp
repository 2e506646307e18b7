// SPDX-License-Identifier: Apache-2.0
// Plans of both CUDA families as pure functions, without a GPU: over random problems and devices a plan is legal or refused with a reason,
// fits the device and the caller's workspace, covers all of C and K, and is the same when asked again.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <utility>

#include "cuda/cuda.hpp"
#include "cuda/sm80/mma_policy.hpp"
#include "cuda/sm90/shares_plan.hpp"
#include "cuda/sm90/wgmma_policy.hpp"
#include "gemm/registry.hpp"

namespace billfish::cuda {
namespace {

// Sizes of every magnitude, often next to a multiple of a tile.
std::int64_t random_size(std::mt19937_64& random, std::int64_t most) {
  const int bits = static_cast<int>(random() % 24);
  const std::int64_t size = static_cast<std::int64_t>(random() % (std::uint64_t{1} << bits)) + static_cast<std::int64_t>(random() % 3);
  return std::min(most, random() % 2 == 0 ? size : round_up(size, 128));
}

gemm::Problem random_problem(std::mt19937_64& random) {
  gemm::Problem p;
  p.m = random_size(random, 1 << 20) + 1;
  p.n = random_size(random, 1 << 20) + 1;
  p.k = random_size(random, 1 << 20);
  constexpr std::int64_t groups[] = {-1, 16, 32, 48, 64, 128, 256, 100};
  p.group = resolve_group(groups[random() % 8], p.k);
  p.weight = static_cast<WeightType>(random() % 4);
  p.a = random() % 16 == 0 ? ElementType::f32 : random() % 2 == 0 ? ElementType::f16 : ElementType::bf16;
  p.c = static_cast<ElementType>(random() % 3);
  p.scale = random() % 16 == 0 ? ElementType::f32 : random() % 2 == 0 ? ElementType::f16 : ElementType::bf16;
  p.act_order = random() % 4 == 0;
  p.uneven_groups = random() % 16 == 0;
  p.bias = random() % 2 == 0;
  p.wide_scales = random() % 8 == 0;
  p.batch_invariant = random() % 4 == 0;
  p.dependent_launch = random() % 2 == 0;
  p.zeroed_workspace = random() % 2 == 0;
  p.aligned_a = random() % 4 != 0;
  p.aligned_c = random() % 4 != 0;
  p.workspace_bytes = random() % 2 == 0 ? -1 : static_cast<std::int64_t>(random() % (1 << (random() % 28)));
  return p;
}

void expect_legal(const gemm::Plan& plan, const gemm::Problem& p, const gemm::DeviceFacts& facts) {
  const std::string what = gemm::describe(p) + " on " + gemm::describe(facts);
  ASSERT_GT(plan.blocks, 0) << what;
  ASSERT_LE(plan.blocks, 0x7fffffff) << what;
  ASSERT_TRUE(plan.threads >= 32 && plan.threads <= 1024 && plan.threads % 32 == 0) << what << ": " << plan.threads << " threads";
  ASSERT_LE(plan.shared_bytes, facts.shared_bytes_per_block) << what;
  ASSERT_GE(plan.splits, 1) << what;
  if (p.workspace_bytes >= 0) {
    ASSERT_LE(plan.workspace_bytes, p.workspace_bytes) << what;
  }
  ASSERT_TRUE(p.dependent_launch || !plan.dependent_launch) << what;
  ASSERT_TRUE(facts.architecture >= 90 || !plan.dependent_launch) << what;
}

// What the sm80 kernel takes for granted.
void expect_mma_arithmetic(const gemm::Plan& plan, const gemm::Problem& p) {
  using namespace mma;
  const MmaConfig& config = kConfigs[plan.policy];
  const std::int64_t warps_m = plan.tile_m / (8 * config.token_tiles), warps_n = plan.tile_n / 64, warps_k = plan.detail[kWarpsK];
  ASSERT_EQ(plan.threads, 32 * warps_m * warps_n * warps_k);
  ASSERT_LE(plan.threads, config.max_threads);
  ASSERT_GE(plan.detail[kRunSteps], steps_ahead(bits_of(p.weight))) << "a chunk has landed when its run begins";
  ASSERT_EQ(plan.detail[kStepsPerSplit] % (warps_k * plan.detail[kRunSteps]), 0) << "a split is whole chunks";
  ASSERT_EQ(plan.blocks, ceil_div(p.m, plan.tile_m) * ceil_div(p.n, plan.tile_n) * plan.splits);
  const std::int64_t steps = ceil_div(p.k, 16);
  ASSERT_GE(plan.detail[kStepsPerSplit] * plan.splits, steps) << "all of K";
  if (plan.splits > 1) {
    ASSERT_LT(plan.detail[kStepsPerSplit] * (plan.splits - 1), steps) << "no split is empty";
  }
  ASSERT_GE(plan.shared_bytes, shared_bytes(bits_of(p.weight), plan.threads / 32, plan.tile_m, plan.tile_n, static_cast<int>(warps_k),
                                            static_cast<int>(plan.detail[kRunSteps])));
  ASSERT_EQ(plan.workspace_bytes, workspace_bytes(p, plan.splits));
  if (p.batch_invariant) {
    ASSERT_EQ(plan.splits, 1);
    ASSERT_TRUE(warps_k == batch_invariant_warps_k(p.n) && plan.detail[kRunSteps] == kBatchInvariantRunSteps) << "one cut of K for every m";
  }
}

TEST(Plans, RandomProblemsGetALegalPlanOrAReason) {
  std::mt19937_64 random(20261121);
  constexpr int architectures[] = {70, 75, 80, 86, 87, 89, 90, 100, 103, 120, 130};
  int planned[2] = {}, refused[2] = {}, candidates[2] = {};
  for (int i = 0; i < 100000; ++i) {
    const gemm::Problem p = random_problem(random);
    gemm::DeviceFacts facts = typical_facts(architectures[random() % 11]);
    if (random() % 8 == 0) facts.multiprocessors = 1 + static_cast<int>(random() % (random() % 2 == 0 ? 4 : 400));
    for (const gemm::Implementation* family : {&sm80, &sm90}) {
      const int index = family == &sm90;
      const std::string reason = family->why_not(p, facts);
      if (!reason.empty()) {
        ASSERT_GE(reason.size(), 6u);
        ++refused[index];
        continue;
      }
      ++planned[index];
      const gemm::Plan plan = family->plan(p, facts);
      ASSERT_EQ(plan.implementation, family);
      ASSERT_TRUE(plan == family->plan(p, facts)) << "the same problem, another plan: " << gemm::describe(p);
      expect_legal(plan, p, facts);
      if (index == 0) expect_mma_arithmetic(plan, p);
      if (testing::Test::HasFatalFailure()) return;
      if (i % 40 != 0 && facts.multiprocessors > 4) continue;  // all plans of some of them, and for the smallest devices
      for (const gemm::Plan& candidate : gemm::candidates_of(*family, p, facts)) {
        expect_legal(candidate, p, facts);
        if (index == 0) expect_mma_arithmetic(candidate, p);
        if (testing::Test::HasFatalFailure()) FAIL() << candidate.policy_name;
        ++candidates[index];
      }
    }
  }
  EXPECT_GT(planned[0], 50000);
  EXPECT_GT(planned[1], 1000);
  EXPECT_GT(refused[0], 10000);
  EXPECT_GT(candidates[0], 50000);
  EXPECT_GT(candidates[1], 500);
}

TEST(Plans, RefusalsNameTheArgumentItsValueAndWhatIsSupported) {
  const gemm::DeviceFacts a100 = typical_facts(80);
  gemm::Problem good;
  good.m = 1, good.n = 4096, good.k = 4096, good.group = 128;
  EXPECT_EQ(sm80.why_not(good, a100), "");
  const auto expect = [&](auto&& change, const char* first, const char* second) {
    gemm::Problem p = good;
    change(p);
    const std::string reason = sm80.why_not(p, a100);
    EXPECT_NE(reason.find(first), std::string::npos) << reason;
    EXPECT_NE(reason.find(second), std::string::npos) << reason;
  };
  expect([](auto& p) { p.a = ElementType::f32; }, "a is f32", "f16 and bf16");
  expect([](auto& p) { p.scale = ElementType::f32; }, "scales are f32", "f16 and bf16");
  expect([](auto& p) { p.group = 100; }, "group is 100", "multiples of 16");
  expect([](auto& p) { p.uneven_groups = true; }, "uneven", "equal size");
  expect([](auto& p) { p.m = std::int64_t{1} << 40; }, "1099511627776", "at most");
  EXPECT_NE(sm80.why_not(good, typical_facts(75)).find("sm_75; sm_80 and later"), std::string::npos);
  EXPECT_EQ(sm80.why_not(good, typical_facts(120)), "");
  EXPECT_EQ(sm80.why_not(good, typical_facts(200)), "") << "a future device runs the PTX";
  EXPECT_NE(sm90.why_not(good, a100), "");
}

TEST(Plans, WhatOnlyThePortableFamilyRunsRunsOnHopperAndExplainSaysWhy) {
  const gemm::DeviceFacts h200 = typical_facts(90);
  gemm::Problem good;
  good.m = 16, good.n = 4096, good.k = 2048, good.group = 128;
  const auto expect = [&](auto&& change, const char* reason) {
    gemm::Problem p = good;
    change(p);
    const Result<gemm::Plan> plan = gemm::choose_plan(p, h200);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_STREQ(plan->implementation->name, "sm80") << reason;
    const std::string text = gemm::explain(p, h200, {}, false);
    EXPECT_NE(text.find(std::string("sm90        no   ")), std::string::npos) << text;
    EXPECT_NE(text.find(reason), std::string::npos) << text;
    EXPECT_NE(text.find("sm80        yes  chosen"), std::string::npos) << text;
  };
  expect([](auto& p) { p.act_order = true; }, "act order");
  expect([](auto& p) { p.weight = WeightType::u8; }, "8-bit codes with stored zeros");
  expect([](auto& p) { p.wide_scales = true; }, "scale * code leaves the 16-bit range");
  gemm::Problem p = good;
  p.scale = ElementType::f32;
  EXPECT_FALSE(gemm::choose_plan(p, h200).ok()) << "f32 scales run on no GPU family, and both say so";
  EXPECT_NE(sm80.why_not(p, h200).find("f16 and bf16"), std::string::npos);
  EXPECT_NE(sm90.why_not(p, h200).find("f16 or bf16"), std::string::npos);
}

// A few rows, too, where K is long enough: see gather.hpp.
TEST(Plans, RowsThatAreGatheredOrNotAlignedAreCopiedToTheWorkspaceFirst) {
  const gemm::DeviceFacts h200 = typical_facts(90);
  gemm::Problem p;
  p.n = 4096;
  for (const int which : {0, 1, 2, 3, 4, 5}) {
    const bool zeroed = which % 2 != 0, is_long = which < 4;
    p.batch_invariant = which == 2 || which == 3;
    p.k = p.group = is_long ? 4100 : 252;
    for (p.m = 1; p.m < 3000; p.m = p.m * 3 + 1) {
      p.zeroed_workspace = zeroed;
      for (const bool act_order : {false, true}) {
        p.act_order = act_order, p.aligned_a = act_order, p.workspace_bytes = -1;
        const Result<gemm::Plan> plan = gemm::choose_plan(p, h200);
        ASSERT_TRUE(plan.ok()) << plan.status().message();
        if (p.m <= 16 && !is_long) {
          EXPECT_STREQ(plan->implementation->name, "sm80") << p.m;
          continue;
        }
        ASSERT_STREQ(plan->implementation->name, "sm90") << p.m;
        const std::int64_t copy = p.m * round_up(p.k, 8) * 2;
        EXPECT_EQ(plan->gather_offset % 16, 0);
        EXPECT_EQ(plan->policy >= sm90::kPolicies, p.m <= 8 && zeroed && !p.batch_invariant) << "the streaming kernel's";
        EXPECT_GE(plan->gather_offset, zeroed ? zeros_bytes(h200.multiprocessors) : 0) << "what must stay zeros";
        EXPECT_GE(plan->workspace_bytes, plan->gather_offset + copy);
        p.workspace_bytes = plan->workspace_bytes - 1;
        const Result<gemm::Plan> smaller = gemm::choose_plan(p, h200);
        ASSERT_EQ(smaller.ok(), !p.batch_invariant) << "its rows may not have the portable family's bits here";
        if (smaller.ok()) ASSERT_LE(smaller->workspace_bytes, p.workspace_bytes) << p.m;
        p.workspace_bytes = copy - 1;
        const Result<gemm::Plan> portable = gemm::choose_plan(p, h200);
        ASSERT_EQ(portable.ok(), !p.batch_invariant);
        if (portable.ok()) EXPECT_STREQ(portable->implementation->name, "sm80") << p.m;
        EXPECT_NE(sm90.why_not(p, h200).find("copy of A"), std::string::npos) << sm90.why_not(p, h200);
      }
    }
  }
}

// A copy of as many bytes as no integer counts: sizes are looked at before they are multiplied (the sanitizers' run would tell).
TEST(Plans, AbsurdSizesAreRefusedBeforeACopyOfThemIsMeasured) {
  const gemm::DeviceFacts h200 = typical_facts(90);
  constexpr std::int64_t huge = std::int64_t{1} << 62, most = std::numeric_limits<std::int64_t>::max();
  gemm::Problem p;
  for (const auto& [m, k] :
       {std::pair{huge, huge}, {most, std::int64_t{8}}, {std::int64_t{1}, most}, {most, most}, {std::int64_t{1} << 31, most}}) {
    for (const std::int64_t workspace : {std::int64_t{-1}, std::int64_t{0}, most}) {
      for (const bool batch_invariant : {false, true}) {
        p.m = m, p.n = 64, p.k = p.group = k, p.workspace_bytes = workspace, p.batch_invariant = batch_invariant;
        p.act_order = true, p.aligned_a = false;
        EXPECT_EQ(sm90.why_not(p, h200), "a size is beyond 2^30");
        EXPECT_NE(sm80.why_not(p, h200), "");
        EXPECT_FALSE(gemm::choose_plan(p, h200).ok());
      }
    }
  }
  p.m = p.k = p.group = std::int64_t{1} << 30, p.n = 8, p.workspace_bytes = 0;
  EXPECT_NE(sm90.why_not(p, h200).find(" workspace of " + std::to_string(std::int64_t{1} << 61) + " bytes"), std::string::npos)
      << sm90.why_not(p, h200);
}

TEST(Plans, BatchInvariantPlansCutKInOneWayForEveryMAndDevice) {
  gemm::Problem p;
  p.k = 14336, p.group = 128, p.batch_invariant = true;
  for (p.n = 1000; p.n < 60000; p.n *= 2) {
    p.m = 1;
    const gemm::Plan one = sm80.plan(p, typical_facts(86));
    for (const int architecture : {80, 86, 90, 120}) {
      for (p.m = 2; p.m < 600; p.m += 7) {
        const gemm::Plan plan = sm80.plan(p, typical_facts(architecture));
        ASSERT_EQ(plan.detail[mma::kWarpsK], one.detail[mma::kWarpsK]);
        ASSERT_EQ(plan.detail[mma::kRunSteps], one.detail[mma::kRunSteps]);
        ASSERT_EQ(plan.splits, one.splits);
      }
    }
  }
}

TEST(Facts, ADeviceThatIsNotHereIsTypicalOfItsArchitecture) {
  EXPECT_EQ(typical_facts(90).multiprocessors, 132);
  EXPECT_EQ(typical_facts(90).shared_bytes_per_block, 227 * 1024);
  EXPECT_EQ(typical_facts(86).shared_bytes_per_block, 99 * 1024);
  EXPECT_EQ(typical_facts(87).architecture, 87);
  EXPECT_EQ(typical_facts(10).architecture, 10);
  EXPECT_EQ(typical_facts(200).kind, DeviceKind::cuda);
}

// Where the kernel looks for a k16 step's scales, by the group's length in steps.
TEST(Sm90Grain, EveryStepFindsItsRow) {
  for (const int steps : {4, 8}) {
    for (int group = 1; group <= 40; ++group) {
      const sm90::Grain grain = sm90::grain_of(steps, group);
      EXPECT_GE(sm90::most_rows(steps, grain), sm90::rows_touched(steps, group)) << "room for " << steps << " steps, groups of " << group;
      if (grain == sm90::Grain::stage) EXPECT_EQ(sm90::rows_touched(steps, group), 1);
      if (grain != sm90::Grain::pairs) continue;
      for (int step = 0; step < steps; ++step) EXPECT_EQ(step / 2 >> sm90::pairs_shift(group), step / group) << group;
    }
    EXPECT_EQ(sm90::grain_of(steps, 2), sm90::Grain::pairs) << "group 32";
    EXPECT_EQ(sm90::grain_of(steps, 3), sm90::Grain::steps) << "group 48";
  }
}

TEST(Sm90Grain, AnyGroupHasAVariantAlsoForTheSameBitsAtEveryBatchSize) {
  EXPECT_TRUE(std::ranges::any_of(sm90::kConfigs, [](const sm90::WgmmaConfig& c) { return c.any_group && !c.scale_sums; }));
}

}  // namespace
}  // namespace billfish::cuda
