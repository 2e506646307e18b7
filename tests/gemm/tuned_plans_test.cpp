// SPDX-License-Identifier: Apache-2.0
// Candidates: all legal, the chosen plan among them, each told from the others by its choice. The table of tuned plans: it answers for its
// problem and m alone, and never with a plan that is not a candidate.
#include "gemm/tuned_plans.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "gemm/problems.hpp"

namespace billfish::gemm {
namespace {

bool holds(const std::vector<Plan>& plans, const Plan& plan) { return std::find(plans.begin(), plans.end(), plan) != plans.end(); }

TEST(Candidates, OfRandomProblemsHoldTheChosenPlanAndTellThemselvesApart) {
  std::mt19937_64 random(20261122);
  const std::vector<DeviceFacts> devices = all_devices();
  std::size_t most = 0;
  for (int i = 0; i < 6000; ++i) {
    Problem problem = random_problem(random);
    problem.zeroed_workspace = random() % 2 == 0;
    const DeviceFacts& facts = devices[random() % devices.size()];
    for (const Implementation* implementation : implementations()) {
      if (!refusal(*implementation, problem, facts).empty()) continue;
      const std::vector<Plan> plans = candidates_of(*implementation, problem, facts);
      most = std::max(most, plans.size());
      ASSERT_TRUE(holds(plans, implementation->plan(problem, facts))) << implementation->name << ": " << describe(problem);
      for (std::size_t x = 0; x < plans.size(); ++x) {
        ASSERT_EQ(plans[x].implementation, implementation);
        for (std::size_t y = 0; y < x && i % 10 == 0; ++y) {
          ASSERT_FALSE(choice_of(plans[x]) == choice_of(plans[y]) && plans[x] != plans[y])
              << implementation->name << " " << plans[x].policy_name << ": " << describe(problem);
        }
      }
    }
  }
  EXPECT_GT(most, 100u) << "a search needs something to search in";
}

TEST(Candidates, OfAllImplementationsOrOfOne) {
  const DeviceFacts h200 = cuda::typical_facts(90);
  Problem problem;
  problem.m = 16, problem.n = problem.k = 4096, problem.group = 128, problem.zeroed_workspace = true;
  const auto count = [&](const char* force) { return candidates(problem, h200, force).size(); };
  EXPECT_GT(count("sm90"), 20u);
  EXPECT_GT(count("sm80"), 20u);
  EXPECT_EQ(count(""), count("sm90") + count("sm80"));
  EXPECT_EQ(count("cpu_avx2"), 0u);
  EXPECT_EQ(count("nobody"), 0u);
  EXPECT_EQ(candidates(problem, cpu_with(1), "cpu_avx2").size(), 1u);
}

struct Table : testing::Test {
  Problem problem;
  DeviceFacts facts = cuda::typical_facts(90);
  std::vector<Plan> plans;
  Plan other;  // not what the model chooses

  Table() {
    problem.m = 48, problem.n = 4096, problem.k = 14336, problem.group = 128, problem.zeroed_workspace = problem.dependent_launch = true;
    plans = candidates(problem, facts, "sm90");
    const Plan chosen = *choose_plan(problem, facts);
    for (const Plan& plan : plans) {
      if (plan.splits > 1 && plan.cluster > 1 && plan.tile_m == 64 && plan != chosen) other = plan;
    }
  }
  TunedPlan entry(std::int64_t from, std::int64_t to) const { return {tuned_problem_of(problem, facts), from, to, choice_of(other)}; }
};

TEST_F(Table, AnswersForItsProblemAndItsRangeOfM) {
  ASSERT_NE(other.implementation, nullptr);
  const TunedPlans table({entry(33, 64)});
  for (problem.m = 33; problem.m <= 64; ++problem.m) {
    const Result<Plan> plan = choose_plan(problem, facts, {}, &table);
    ASSERT_TRUE(plan.ok());
    EXPECT_TRUE(choice_of(*plan) == choice_of(other)) << problem.m;
    EXPECT_TRUE(holds(candidates(problem, facts, "sm90"), *plan)) << problem.m;
  }
  for (const std::int64_t m : {1, 32, 65, 4096}) {
    problem.m = m;
    EXPECT_FALSE(table.plan_for(problem, facts, {}).has_value()) << m;
    EXPECT_EQ(*choose_plan(problem, facts, {}, &table), *choose_plan(problem, facts)) << m;
  }
}

TEST_F(Table, KnowsNoOtherProblem) {
  const TunedPlans table({entry(1, 1000)});
  EXPECT_TRUE(table.plan_for(problem, facts, {}).has_value());
  const std::vector<std::function<void(Problem&, DeviceFacts&)>> changes = {
      [](Problem& p, DeviceFacts&) { p.n = 4160; },
      [](Problem& p, DeviceFacts&) { p.k = 14208; },
      [](Problem& p, DeviceFacts&) { p.group = 64; },
      [](Problem& p, DeviceFacts&) { p.weight = WeightType::u4; },
      [](Problem& p, DeviceFacts&) { p.a = ElementType::bf16; },
      [](Problem& p, DeviceFacts&) { p.zeroed_workspace = false; },
      [](Problem& p, DeviceFacts&) { p.dependent_launch = false; },
      [](Problem&, DeviceFacts& d) { d.multiprocessors = 114; },
      [](Problem&, DeviceFacts& d) { d.architecture = 100; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Problem p = problem;
    DeviceFacts d = facts;
    changes[i](p, d);
    EXPECT_FALSE(table.plan_for(p, d, {}).has_value()) << "change " << i;
  }
}

TEST_F(Table, IsPassedOverWhereItsPlanWouldBeWrong) {
  const TunedPlans table({entry(1, 1000)});
  Problem p = problem;
  p.batch_invariant = true;
  EXPECT_FALSE(table.plan_for(p, facts, {}).has_value()) << "it splits K";
  EXPECT_FALSE(table.plan_for(problem, facts, "sm80").has_value());
  EXPECT_TRUE(table.plan_for(problem, facts, "sm90").has_value());
  p = problem, p.wide_scales = true;
  EXPECT_FALSE(table.plan_for(p, facts, {}).has_value()) << "sm90 refuses it";
  p = problem, p.m = 1000;
  EXPECT_FALSE(table.plan_for(p, facts, {}).has_value()) << "more tiles, another grid";

  for (const auto& change : std::vector<std::function<void(Choice&)>>{
           [](Choice& c) { c.policy = "of another version"; }, [](Choice& c) { c.splits = 77; }, [](Choice& c) { c.blocks += 1; },
           [](Choice& c) { c.threads = 1 << 20; }, [](Choice& c) { c.cluster = 16; }, [](Choice& c) { c.detail[2] = 5; }}) {
    TunedPlan changed = entry(1, 1000);
    change(changed.choice);
    EXPECT_FALSE(TunedPlans({changed}).plan_for(problem, facts, {}).has_value());
  }
}

TEST_F(Table, AWorkspaceThatIsTooSmallGetsTheModelsPlan) {
  const auto large =
      std::max_element(plans.begin(), plans.end(), [](const Plan& x, const Plan& y) { return x.workspace_bytes < y.workspace_bytes; });
  ASSERT_GT(large->workspace_bytes, 0);
  other = *large;
  const TunedPlans table({entry(48, 48)});
  problem.workspace_bytes = other.workspace_bytes;
  EXPECT_EQ(*table.plan_for(problem, facts, {}), other);
  problem.workspace_bytes = other.workspace_bytes - 1;
  EXPECT_FALSE(table.plan_for(problem, facts, {}).has_value());
  EXPECT_EQ(*choose_plan(problem, facts, {}, &table), *choose_plan(problem, facts));
}

TEST_F(Table, OnACpuTheFlagsOfCudaMeanNothing) {
  facts = cpu_with(1);
  problem.zeroed_workspace = problem.dependent_launch = false;
  other = candidates(problem, facts, "reference")[0];
  const TunedPlans table({entry(48, 48)});
  problem.zeroed_workspace = problem.dependent_launch = true;
  ASSERT_TRUE(table.plan_for(problem, facts, {}).has_value());
  EXPECT_STREQ(choose_plan(problem, facts, {}, &table)->implementation->name, "reference");
}

TEST_F(Table, TheLaterOfTwoCounts) {
  TunedPlan later = entry(40, 50);
  later.choice = choice_of(*choose_plan(problem, facts));
  const TunedPlans table({entry(1, 1000), later});
  EXPECT_TRUE(choice_of(*table.plan_for(problem, facts, {})) == later.choice);
  problem.m = 51;
  EXPECT_TRUE(choice_of(*table.plan_for(problem, facts, {})) == choice_of(other));
}

TEST_F(Table, ExplainSaysWhenAPlanIsLoaded) {
  const TunedPlans table({entry(33, 64)});
  const std::string text = explain(problem, facts, {}, false, &table);
  EXPECT_NE(text.find("sm90        yes  chosen by the loaded plans"), std::string::npos) << text;
  EXPECT_NE(text.find(", of the loaded plans\n"), std::string::npos) << text;
  EXPECT_TRUE(nlohmann::json::parse(explain(problem, facts, {}, true, &table))["plan"]["tuned"].get<bool>());
  EXPECT_FALSE(nlohmann::json::parse(explain(problem, facts, {}, true))["plan"]["tuned"].get<bool>());
  EXPECT_EQ(explain(problem, facts, {}, false).find("loaded"), std::string::npos);
}

TEST_F(Table, TheListOfCandidatesIsAllOfThemAndMarksTheChosenOne) {
  const Result<std::string> text = list_candidates(problem, facts, "sm90");
  ASSERT_TRUE(text.ok()) << text.status().message();
  const nlohmann::json json = nlohmann::json::parse(*text);
  ASSERT_EQ(json["candidates"].size(), plans.size());
  int chosen = 0;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const nlohmann::json& one = json["candidates"][i];
    EXPECT_EQ(one["plan"]["policy"], plans[i].policy_name);
    EXPECT_EQ(one["plan"]["blocks"], plans[i].blocks);
    EXPECT_EQ(one["workspace_bytes"], plans[i].workspace_bytes);
    if (!one["chosen"].get<bool>()) continue;
    ++chosen;
    EXPECT_EQ(plans[i], *choose_plan(problem, facts));
  }
  EXPECT_EQ(chosen, 1);
  EXPECT_EQ(json["device"]["multiprocessors"], 132);
  problem.scale = ElementType::f32;
  EXPECT_EQ(list_candidates(problem, facts, {}).status().code(), Code::unsupported);
}

}  // namespace
}  // namespace billfish::gemm
