// SPDX-License-Identifier: Apache-2.0
// What BILLFISH_GEMM_BATCH_INVARIANT promises, as far as plans decide it: whatever a call may have that the next one with the same weights
// has not (m, where A and C lie, a workspace, a file of plans), a row's products and partial sums are added in one order by one
// implementation, or the call is refused. tests/cuda/batch_invariance_gpu_test.cpp compares the bits themselves.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "cuda/sm80/mma_policy.hpp"
#include "cuda/sm90/gather.hpp"
#include "cuda/sm90/wgmma_policy.hpp"
#include "gemm/problems.hpp"
#include "gemm/tuned_plans.hpp"

namespace billfish::gemm {
namespace {

// All of a plan that decides a row's bits. The rest says which tokens and columns a block has, and when they come: neither changes a sum.
struct RowSums {
  const Implementation* implementation = nullptr;
  // sm90
  bool streams = false;           // the streaming kernel: mma.sync, teams of warps that have every other part of K
  std::int64_t scaled_codes = 0;  // wgmma, the scale multiplies sums of so many products; 0: it multiplies weights, one chain for all of K
  std::int64_t shared_tiles = 0;  // wgmma, in which K is cut where the blocks' equal shares end
  // sm80: k-warps take turns in runs of steps
  std::int64_t warps_k = 0, run_steps = 0, steps_per_split = 0;
  // CPU
  int arithmetic = 0;
  bool cpu_streams = false;
  // All
  std::int64_t splits = 0;  // parts of K that are added in the end

  auto key() const {
    return std::tuple(implementation, streams, scaled_codes, shared_tiles, warps_k, run_steps, steps_per_split, arithmetic, cpu_streams,
                      splits);
  }
  bool operator==(const RowSums&) const = default;
};

RowSums sums_of(const Plan& plan, const Problem& problem) {
  RowSums sums;
  sums.implementation = plan.implementation;
  sums.splits = plan.splits;
  if (plan.implementation == &cuda::sm80) {
    sums.warps_k = plan.detail[cuda::mma::kWarpsK];
    sums.run_steps = plan.detail[cuda::mma::kRunSteps];
    sums.steps_per_split = plan.detail[cuda::mma::kStepsPerSplit];
  } else if (plan.implementation == &cuda::sm90) {
    sums.streams = plan.policy >= sm90::kPolicies;
    if (sums.streams) return sums;
    const bool fine = plan.detail[0] != 0;
    sums.shared_tiles = plan.detail[2];
    sums.scaled_codes = sm90::config_of(plan.policy, bits_of(problem.weight)).scale_sums && !fine ? plan.tile_k : 0;
  } else {
    sums.arithmetic = plan.policy;
    sums.cpu_streams = plan.detail[0] != 0;
  }
  return sums;
}

DeviceFacts hopper_with(int multiprocessors) {
  DeviceFacts facts = cuda::typical_facts(90);
  facts.multiprocessors = multiprocessors;
  return facts;
}

// Weights and what is fixed with them; alone, with all the workspace in the world.
Problem random_product(std::mt19937_64& random, const DeviceFacts& facts) {
  constexpr std::array<std::int64_t, 12> kColumns = {1, 8, 64, 832, 1000, 4096, 5120, 11008, 16383, 16384, 28672, 57344};
  constexpr std::array<std::int64_t, 12> kRows = {1, 16, 100, 252, 256, 1000, 2752, 4095, 4096, 4100, 8192, 14336};
  constexpr std::array<std::int64_t, 6> kGroups = {-1, 16, 32, 64, 128, 256};
  Problem problem;
  problem.m = 1;
  problem.n = pick(random, kColumns);
  problem.k = pick(random, kRows);
  problem.group = resolve_group(pick(random, kGroups), problem.k);
  problem.weight = random() % 2 == 0 ? WeightType::u4b8 : static_cast<WeightType>(random() % 4);
  problem.a = problem.scale = random() % 2 == 0 ? ElementType::f16 : ElementType::bf16;
  if (facts.kind == DeviceKind::cpu) problem.a = static_cast<ElementType>(random() % 3);
  problem.c = static_cast<ElementType>(random() % 3);
  problem.act_order = random() % 2 == 0;
  problem.bias = random() % 2 == 0;
  problem.wide_scales = random() % 8 == 0;
  problem.batch_invariant = true;
  return problem;
}

// What the next call with these weights may have.
Problem random_call(std::mt19937_64& random, const Problem& product, std::int64_t m) {
  Problem problem = product;
  problem.m = m;
  problem.aligned_a = random() % 2 == 0;
  problem.aligned_c = random() % 2 == 0;
  problem.dependent_launch = random() % 2 == 0;
  problem.zeroed_workspace = random() % 2 == 0;
  problem.threads = static_cast<int>(random() % 16) + 1;
  const std::int64_t copy = cuda::gather::bytes(problem);
  const std::array<std::int64_t, 7> workspaces = {-1, 0, 4096, copy - 1, copy, copy + (4 << 20), 64 << 20};
  problem.workspace_bytes = pick(random, workspaces);
  return problem;
}

std::vector<DeviceFacts> devices() {
  return {cpu_with(0),
          cpu_with(1),
          cpu_with(2),
          cuda::typical_facts(80),
          cuda::typical_facts(86),
          cuda::typical_facts(90),
          hopper_with(114),
          hopper_with(7),
          cuda::typical_facts(120)};
}

// A workspace that is too small for a copy of A: the message says what is enough, and that is no more than is needed.
void expect_size_told(const Status& status, Problem problem, const DeviceFacts& facts, const RowSums& want) {
  ASSERT_EQ(status.code(), Code::unsupported);
  ASSERT_TRUE(want.implementation == &cuda::sm90 && (problem.act_order || !problem.aligned_a)) << status.message();
  ASSERT_NE(status.message().find("sm80: batch invariant: rows have the bits of sm90 in every call"), std::string::npos)
      << status.message();
  const std::string before = "needs a copy of A in a workspace of ";
  const std::size_t at = status.message().find(before);
  ASSERT_NE(at, std::string::npos) << status.message();
  const std::int64_t enough = std::stoll(status.message().substr(at + before.size()));
  ASSERT_GT(enough, problem.workspace_bytes);
  problem.workspace_bytes = enough - 1;
  ASSERT_FALSE(choose_plan(problem, facts).ok()) << status.message();
  problem.workspace_bytes = enough;
  const Result<Plan> plan = choose_plan(problem, facts);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  ASSERT_TRUE(sums_of(*plan, problem) == want) << describe(problem);
  problem.workspace_bytes = -1;
  ASSERT_EQ(choose_plan(problem, facts)->workspace_bytes, enough) << "what billfish_gemm_workspace tells";
}

TEST(BatchInvariance, ARowIsAddedUpInOneWayWhateverACallHas) {
  std::mt19937_64 random(20261122);
  int planned = 0, refused = 0;
  for (const DeviceFacts& facts : devices()) {
    for (int i = 0; i < 120; ++i) {
      const Problem product = random_product(random, facts);
      const Result<Plan> alone = choose_plan(product, facts);
      ASSERT_TRUE(alone.ok()) << alone.status().message();
      const RowSums want = sums_of(*alone, product);
      for (std::int64_t m = 1; m <= 600; ++m) {
        const Problem call = random_call(random, product, m);
        const Result<Plan> plan = choose_plan(call, facts);
        if (plan.ok()) {
          ++planned;
          ASSERT_TRUE(sums_of(*plan, call) == want) << describe(call) << " on " << describe(facts) << ": " << plan->implementation->name
                                                    << " " << plan->policy_name << ", alone " << alone->implementation->name;
          continue;
        }
        ++refused;
        ASSERT_GE(call.workspace_bytes, 0) << plan.status().message();
        if (facts.kind == DeviceKind::cuda) expect_size_told(plan.status(), call, facts, want);
        if (testing::Test::HasFatalFailure()) FAIL() << describe(call) << " on " << describe(facts);
      }
    }
  }
  EXPECT_GT(planned, 100'000);
  EXPECT_GT(refused, 5'000);
}

// Else the test above would hold for plans that never differ anyway.
TEST(BatchInvariance, IsWhatKeepsPlansAlike) {
  std::mt19937_64 random(20261123);
  for (const int architecture : {80, 90}) {
    const DeviceFacts facts = cuda::typical_facts(architecture);
    Problem product;
    product.n = product.k = 4096, product.group = 128;
    std::set<decltype(RowSums().key())> ways;
    bool streams = false, scaled = false, shared = false, other_family = false;
    for (std::int64_t m = 1; m <= 600; ++m) {
      const Problem call = random_call(random, product, m);
      const Result<Plan> plan = choose_plan(call, facts);
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      const RowSums sums = sums_of(*plan, call);
      ways.insert(sums.key());
      streams |= sums.streams, scaled |= sums.scaled_codes > 0, shared |= sums.shared_tiles > 0, other_family |= sums.warps_k > 0;
    }
    EXPECT_GT(ways.size(), 5u);
    EXPECT_TRUE(other_family && (architecture == 80 || (streams && scaled && shared)));
  }
}

// What a search may try, and a file name.
TEST(BatchInvariance, EveryCandidateAddsARowUpInTheSameWay) {
  std::mt19937_64 random(20261124);
  std::size_t most = 0;
  for (const DeviceFacts& facts : devices()) {
    for (int i = 0; i < 120; ++i) {
      const Problem product = random_product(random, facts);
      for (const char* force : {"", "sm80", "sm90"}) {
        const Result<Plan> alone = choose_plan(product, facts, force);
        if (!alone.ok()) continue;
        for (const std::int64_t m : {1, 7, 16, 17, 64, 200}) {
          const Problem call = random_call(random, product, m);
          const std::vector<Plan> plans = candidates(call, facts, force);
          most = std::max(most, plans.size());
          for (const Plan& plan : plans) {
            ASSERT_TRUE(sums_of(plan, call) == sums_of(*alone, product))
                << describe(call) << " on " << describe(facts) << ": " << plan.implementation->name << " " << plan.policy_name;
          }
        }
      }
    }
  }
  EXPECT_GT(most, 5u);
}

// A file with plans of every family for every m, found for calls without the flag: those that fit count, and change no bit.
TEST(BatchInvariance, LoadedPlansChangeNoBit) {
  std::mt19937_64 random(20261125);
  int followed = 0, passed_over = 0;
  for (int i = 0; i < 60; ++i) {
    const DeviceFacts facts = cuda::typical_facts(i % 4 == 0 ? 80 : 90);
    Problem product = random_product(random, facts);
    const RowSums want = sums_of(*choose_plan(product, facts), product);
    for (const std::int64_t m : {1, 2, 9, 16, 17, 33, 64, 200, 600}) {
      const Problem call = random_call(random, product, m);
      Problem searched = call;
      searched.workspace_bytes = -1;
      for (const bool flagged : {false, true}) {
        searched.batch_invariant = flagged;
        for (const char* family : {"sm80", "sm90"}) {
          const std::vector<Plan> plans = candidates(searched, facts, family);
          if (plans.empty()) continue;
          const Plan& found = plans[random() % plans.size()];
          const TunedPlans table({{tuned_problem_of(searched, facts), m, m, choice_of(found)}});
          const Result<Plan> plan = choose_plan(call, facts, {}, &table), without = choose_plan(call, facts);
          ASSERT_EQ(plan.ok(), without.ok()) << describe(call);
          if (!plan.ok()) continue;
          ASSERT_TRUE(sums_of(*plan, call) == want) << describe(call) << ": " << found.implementation->name << " " << found.policy_name;
          const bool counts = table.plan_for(call, facts, {}).has_value();
          ASSERT_TRUE(!counts || sums_of(found, searched) == want) << describe(call) << ": " << found.implementation->name;
          ASSERT_TRUE(!flagged || counts == (found.implementation == want.implementation)) << describe(call);
          ++(counts ? followed : passed_over);
        }
      }
    }
  }
  EXPECT_GT(followed, 300);
  EXPECT_GT(passed_over, 300);
}

TEST(BatchInvariance, AWorkspaceForManyRowsIsEnoughForFewer) {
  std::mt19937_64 random(20261126);
  for (int i = 0; i < 100; ++i) {
    const DeviceFacts facts = cuda::typical_facts(90);
    Problem problem = random_product(random, facts);
    problem.zeroed_workspace = random() % 2 == 0;
    problem.aligned_a = false, problem.m = 600;
    problem.workspace_bytes = choose_plan(problem, facts)->workspace_bytes;
    for (; problem.m > 0; --problem.m) {
      for (const bool aligned : {false, true}) {
        problem.aligned_a = aligned;
        const Result<Plan> plan = choose_plan(problem, facts);
        ASSERT_TRUE(plan.ok() && plan->workspace_bytes <= problem.workspace_bytes) << describe(problem);
      }
    }
  }
}

// Two families would take m = 2^30 and one row more.
TEST(BatchInvariance, RowsBeyondWhatTheFamilyTakesAreRefused) {
  const DeviceFacts h200 = cuda::typical_facts(90);
  Problem problem;
  problem.n = 8, problem.k = 16, problem.group = 16, problem.batch_invariant = true;
  problem.m = std::int64_t{1} << 30;
  ASSERT_EQ(choose_plan(problem, h200)->implementation, &cuda::sm90);
  ++problem.m;
  const Result<Plan> plan = choose_plan(problem, h200);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.status().message().find("sm90: a size is beyond 2^30; sm80: batch invariant"), std::string::npos)
      << plan.status().message();
  EXPECT_EQ(choose_plan(problem, h200, "sm80")->implementation, &cuda::sm80) << "by name it may be had";
  problem.batch_invariant = false;
  EXPECT_EQ(choose_plan(problem, h200)->implementation, &cuda::sm80);
}

TEST(BatchInvariance, ExplainSaysWhyNobodyRunsIt) {
  const DeviceFacts h200 = cuda::typical_facts(90);
  Problem problem;
  problem.m = 16, problem.n = 4096, problem.k = 4096, problem.group = 128, problem.batch_invariant = problem.act_order = true;
  problem.workspace_bytes = 0;
  const std::string text = explain(problem, h200, {}, false);
  EXPECT_NE(text.find("sm90        no   act order needs a copy of A in a workspace of 131072 bytes, this one has 0\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("sm80        no   batch invariant: rows have the bits of sm90 in every call\n"), std::string::npos) << text;
  EXPECT_NE(text.find("plan        none: "), std::string::npos) << text;
  problem.workspace_bytes = 131072;
  EXPECT_NE(explain(problem, h200, {}, false).find("sm90        yes  chosen\n"), std::string::npos);
}

}  // namespace
}  // namespace billfish::gemm
