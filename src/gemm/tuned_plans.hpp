// SPDX-License-Identifier: Apache-2.0
// Plans that a search on a device found (`billfish tune`), as a table that does not change: choose_plan looks here before it asks the
// models. It holds choices, not plans: a choice is found again among the candidates of the problem at hand, so that whatever a table says,
// only a plan that this library would itself consider legal is ever run. Made by api/plans.cpp from files; calls registry.cpp.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gemm/registry.hpp"

namespace billfish::gemm {

// What a search is about, but for m. Whatever else a problem has (its outputs' type, bias, order, workspace) may forbid a choice, not
// change it.
struct TunedProblem {
  DeviceKind kind = DeviceKind::cuda;
  int architecture = 0, multiprocessors = 0;  // CUDA
  WeightType weight = WeightType::u4b8;
  ElementType a = ElementType::f16;
  std::int64_t n = 0, k = 0, group = 0;  // group is resolved
  bool zeroed_workspace = false, dependent_launch = false;
  auto operator<=>(const TunedProblem&) const = default;
};
TunedProblem tuned_problem_of(const Problem&, const DeviceFacts&);

// What tells one candidate of a problem from all others, and stays the same for all m that make as many tiles.
struct Choice {
  const Implementation* implementation = nullptr;
  std::string policy;
  std::int64_t tile_m = 0, tile_n = 0, splits = 0, cluster = 0, threads = 0, blocks = 0;
  std::int64_t detail[4] = {};
  bool operator==(const Choice&) const = default;
};
Choice choice_of(const Plan&);

struct TunedPlan {
  TunedProblem problem;
  std::int64_t m_from = 0, m_to = 0;  // both included
  Choice choice;
};

class TunedPlans {
 public:
  explicit TunedPlans(std::vector<TunedPlan> plans);  // where two speak of the same m, the later one counts
  std::size_t size() const { return plans_.size(); }
  // Nothing if the table does not know the problem, or its choice is not among the candidates: because it is one of another version of the
  // library or of another implementation than `force`, because it needs more workspace than the caller has, or because the problem is batch
  // invariant and a row would have other bits than without the table.
  std::optional<Plan> plan_for(const Problem&, const DeviceFacts&, std::string_view force) const;

 private:
  std::vector<TunedPlan> plans_;  // sorted by problem
};

}  // namespace billfish::gemm
