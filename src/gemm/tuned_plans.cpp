// SPDX-License-Identifier: Apache-2.0
// See tuned_plans.hpp.
#include "gemm/tuned_plans.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace billfish::gemm {

TunedProblem tuned_problem_of(const Problem& problem, const DeviceFacts& facts) {
  TunedProblem tuned;
  tuned.kind = facts.kind;
  tuned.architecture = facts.architecture;
  tuned.multiprocessors = facts.multiprocessors;
  tuned.weight = problem.weight;
  tuned.a = problem.a;
  tuned.n = problem.n;
  tuned.k = problem.k;
  tuned.group = problem.group;
  const bool cuda = facts.kind == DeviceKind::cuda;  // elsewhere these mean nothing
  tuned.zeroed_workspace = cuda && problem.zeroed_workspace;
  tuned.dependent_launch = cuda && problem.dependent_launch;
  return tuned;
}

Choice choice_of(const Plan& plan) {
  Choice choice;
  choice.implementation = plan.implementation;
  choice.policy = plan.policy_name;
  choice.tile_m = plan.tile_m;
  choice.tile_n = plan.tile_n;
  choice.splits = plan.splits;
  choice.cluster = plan.cluster;
  choice.threads = plan.threads;
  choice.blocks = plan.blocks;
  std::copy(std::begin(plan.detail), std::end(plan.detail), choice.detail);
  return choice;
}

TunedPlans::TunedPlans(std::vector<TunedPlan> plans) : plans_(std::move(plans)) {
  std::stable_sort(plans_.begin(), plans_.end(), [](const TunedPlan& x, const TunedPlan& y) { return x.problem < y.problem; });
}

std::optional<Plan> TunedPlans::plan_for(const Problem& problem, const DeviceFacts& facts, std::string_view force) const {
  const TunedProblem wanted = tuned_problem_of(problem, facts);
  const auto begin = std::lower_bound(plans_.begin(), plans_.end(), wanted,
                                      [](const TunedPlan& plan, const TunedProblem& other) { return plan.problem < other; });
  auto end = begin;
  while (end != plans_.end() && end->problem == wanted) ++end;
  while (end != begin) {
    const TunedPlan& tuned = *--end;
    if (problem.m < tuned.m_from || problem.m > tuned.m_to) continue;
    const Implementation& implementation = *tuned.choice.implementation;
    if (!refusal(implementation, problem, facts, force).empty()) return {};
    for (const Plan& plan : candidates_of(implementation, problem, facts)) {
      if (choice_of(plan) == tuned.choice) return plan;
    }
    return {};
  }
  return {};
}

}  // namespace billfish::gemm
