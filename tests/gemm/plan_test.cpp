// SPDX-License-Identifier: Apache-2.0
// Plans as pure functions, on a machine that has none of the devices: always a legal plan, or a reason for every candidate.
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>

#include "gemm/problems.hpp"
#include "gemm/registry.hpp"

namespace billfish::gemm {
namespace {

constexpr int kProblems = 100'000;
constexpr std::int64_t kLargestGrid = std::numeric_limits<std::int32_t>::max();

std::string legal(const Plan& plan, const Problem& problem, const DeviceFacts& facts) {
  if (plan.implementation == nullptr) return "it has no implementation";
  if (plan.implementation->device != facts.kind) return "its implementation runs elsewhere";
  if (plan.policy_name == nullptr) return "its policy has a null name";
  if (plan.tile_m < 0 || plan.tile_n < 0 || plan.tile_k < 0 || plan.stages < 0) return "a tile or stage count is negative";
  if (plan.splits < 1 || plan.cluster < 1) return "splits or cluster is below 1";
  if (plan.blocks < 1) return "it has no blocks";
  if (plan.threads < 1) return "it has no threads";
  if (plan.workspace_bytes < 0) return "its workspace is negative";
  if (problem.workspace_bytes >= 0 && plan.workspace_bytes > problem.workspace_bytes) return "it needs more workspace than there is";
  if (plan.dependent_launch && !problem.dependent_launch) return "it is a dependent launch that nobody asked for";
  if (plan.chain < 0) return "its sums have a negative length";
  if (facts.kind != DeviceKind::cuda) return {};
  if (plan.threads > 1024 || plan.threads % 32 != 0) return "its blocks do not have 1 to 32 whole warps";
  if (plan.shared_bytes < 0 || plan.shared_bytes > facts.shared_bytes_per_block) return "it needs more shared memory than a block has";
  if (plan.blocks > kLargestGrid) return "its grid is too large";
  if (plan.cluster > 16 || plan.blocks % plan.cluster != 0) return "its blocks do not make whole clusters";
  if (plan.tile_m < 1 || plan.tile_n < 1) return "it has no tile";
  return {};
}

void expect_reasons_for_all(const Status& status, const DeviceFacts& facts) {
  ASSERT_EQ(status.code(), Code::unsupported);
  for (const Implementation* implementation : implementations()) {
    if (implementation->device != facts.kind) continue;
    ASSERT_NE(status.message().find(std::string(implementation->name) + ": "), std::string::npos)
        << status.message() << " does not say why not " << implementation->name;
  }
}

TEST(Plan, EveryRandomProblemHasALegalPlanOrReasonsOnEveryDevice) {
  std::mt19937_64 random(20261121);
  const std::vector<DeviceFacts> devices = all_devices();
  std::int64_t planned = 0, refused = 0;
  for (int i = 0; i < kProblems; ++i) {
    const Problem problem = random_problem(random);
    const DeviceFacts& facts = devices[static_cast<std::size_t>(i) % devices.size()];
    const Result<Plan> plan = choose_plan(problem, facts);
    if (!plan.ok()) {
      expect_reasons_for_all(plan.status(), facts);
      if (testing::Test::HasFatalFailure()) FAIL() << describe(problem);
      ++refused;
      continue;
    }
    ++planned;
    ASSERT_EQ(legal(*plan, problem, facts), "") << describe(problem) << " on " << describe(facts) << ": " << plan->implementation->name;
  }
  // Neither outcome may be so rare that the other half of the test is empty.
  EXPECT_GT(planned, kProblems / 10);
  EXPECT_GT(refused, kProblems / 1000);
}

TEST(Plan, TheSameProblemGivesTheSamePlan) {
  std::mt19937_64 random(7);
  const std::vector<DeviceFacts> devices = all_devices();
  for (int i = 0; i < 3000; ++i) {
    const Problem problem = random_problem(random);
    const DeviceFacts& facts = devices[random() % devices.size()];
    const Result<Plan> first = choose_plan(problem, facts), second = choose_plan(problem, facts);
    ASSERT_EQ(first.ok(), second.ok());
    if (first.ok()) {
      ASSERT_EQ(*first, *second) << describe(problem);
    } else {
      ASSERT_EQ(first.status().message(), second.status().message());
    }
  }
}

TEST(Plan, TheFirstThatCanIsChosenAndForcingItChangesNothing) {
  std::mt19937_64 random(8);
  const std::vector<DeviceFacts> devices = all_devices();
  for (int i = 0; i < 3000; ++i) {
    const Problem problem = random_problem(random);
    const DeviceFacts& facts = devices[random() % devices.size()];
    const Implementation* first = nullptr;
    for (const Implementation* implementation : implementations()) {
      if (first == nullptr && refusal(*implementation, problem, facts, {}).empty()) first = implementation;
    }
    const Result<Plan> plan = choose_plan(problem, facts);
    ASSERT_EQ(plan.ok(), first != nullptr) << describe(problem);
    if (first == nullptr) continue;
    ASSERT_EQ(plan->implementation, first) << describe(problem);
    const Result<Plan> forced = choose_plan(problem, facts, first->name);
    ASSERT_TRUE(forced.ok());
    ASSERT_EQ(*forced, *plan);
  }
}

TEST(Plan, EveryImplementationThatCanMakesALegalPlanWhenForced) {
  std::mt19937_64 random(9);
  const std::vector<DeviceFacts> devices = all_devices();
  for (int i = 0; i < 6000; ++i) {
    const Problem problem = random_problem(random);
    const DeviceFacts& facts = devices[random() % devices.size()];
    for (const Implementation* implementation : implementations()) {
      const Result<Plan> plan = choose_plan(problem, facts, implementation->name);
      if (refusal(*implementation, problem, facts).empty()) {
        ASSERT_TRUE(plan.ok()) << implementation->name << ": " << describe(problem);
        ASSERT_EQ(plan->implementation, implementation);
        ASSERT_EQ(legal(*plan, problem, facts), "") << implementation->name << ": " << describe(problem) << " on " << describe(facts);
      } else {
        ASSERT_EQ(plan.status().code(), Code::unsupported);
        ASSERT_NE(plan.status().message().find(implementation->name), std::string::npos);
      }
    }
  }
}

TEST(Plan, EveryProblemWithCpuMemoryCanRunOnAnyCpu) {
  std::mt19937_64 random(10);
  for (int i = 0; i < 20000; ++i) {
    Problem problem = random_problem(random);
    const DeviceFacts facts = cpu_with(static_cast<int>(random() % 3));
    problem.workspace_bytes = 0;
    problem.batch_invariant = false;
    if (problem.precision != Precision::full) problem.precision = Precision::full;
    ASSERT_TRUE(choose_plan(problem, facts).ok()) << describe(problem);
  }
}

TEST(Plan, SixteenBitProblemsOnAGpuNeedNoWorkspace) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 20000; ++i) {
    Problem problem = random_problem(random);
    problem.m = problem.m % 100000 + 1;
    problem.n = problem.n % 100000 + 1;
    problem.k = problem.k % 100000 + 1;
    problem.group = resolve_group(128, problem.k);
    problem.a = random() % 2 == 0 ? ElementType::f16 : ElementType::bf16;
    problem.scale = problem.a;
    problem.uneven_groups = false;
    problem.workspace_bytes = 0;
    for (const int architecture : {80, 86, 89, 90, 100, 120, 130}) {
      const Result<Plan> plan = choose_plan(problem, cuda::typical_facts(architecture));
      if (architecture == 90 && problem.batch_invariant && (problem.act_order || !problem.aligned_a) && !plan.ok()) {
        // Batch invariant rows go nowhere else: tests/cuda/batch_invariance_test.cpp.
        ASSERT_NE(plan.status().message().find("sm90: "), std::string::npos);
        ASSERT_NE(plan.status().message().find("needs a copy of A in a workspace of "), std::string::npos) << plan.status().message();
        continue;
      }
      ASSERT_TRUE(plan.ok()) << architecture << ": " << plan.status().message();
      ASSERT_EQ(plan->workspace_bytes, 0);
    }
  }
}

TEST(Plan, AGpuTooOldIsRefusedWithItsArchitecture) {
  Problem problem;
  problem.m = 1;
  problem.n = problem.k = 4096;
  problem.group = 128;
  const Result<Plan> plan = choose_plan(problem, cuda::typical_facts(75));
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.status().message().find("sm_75"), std::string::npos) << plan.status().message();
}

TEST(Plan, AnUnknownNameIsRefusedWithTheKnownOnes) {
  const Result<Plan> plan = choose_plan({}, cpu_with(1), "cpu_avx1024");
  ASSERT_EQ(plan.status().code(), Code::invalid_argument);
  for (const Implementation* implementation : implementations()) {
    EXPECT_NE(plan.status().message().find(implementation->name), std::string::npos);
  }
}

TEST(Plan, TheOrderIsTheDocumentedOne) {
  std::string order;
  for (const Implementation* implementation : implementations()) order += std::string(implementation->name) + " ";
  EXPECT_EQ(order, "sm90 sm80 cpu_amx cpu_avx512 cpu_avx2 cpu_scalar reference ");
  for (const Implementation* implementation : implementations()) EXPECT_EQ(find_implementation(implementation->name), implementation);
}

}  // namespace
}  // namespace billfish::gemm
