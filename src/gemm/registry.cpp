// SPDX-License-Identifier: Apache-2.0
// The list, in order of preference, and the pure function that walks it. Called by api/, explain.cpp and tuned_plans.cpp; calls the
// why_not, plan and candidates of each implementation.
#include "gemm/registry.hpp"

#include "cpu/cpu.hpp"
#include "cuda/cuda.hpp"
#include "gemm/tuned_plans.hpp"
#include "reference/reference.hpp"

namespace billfish::gemm {
namespace {

constexpr const Implementation* kImplementations[] = {
    &cuda::sm90, &cuda::sm80, &cpu::amx, &cpu::avx512, &cpu::avx2, &cpu::scalar, &reference::implementation,
};

std::string known_names() {
  std::string names;
  for (const Implementation* implementation : kImplementations) {
    if (!names.empty()) names += ", ";
    names += implementation->name;
  }
  return names;
}

// Who runs a batch-invariant problem. All that one call may have and the next one not is left out; the fewest rows are refused least.
const Implementation* for_every_call(Problem problem, const DeviceFacts& facts) {
  problem.m = 1;
  problem.workspace_bytes = -1;
  problem.aligned_a = problem.aligned_c = true;
  problem.zeroed_workspace = problem.dependent_launch = false;
  for (const Implementation* implementation : kImplementations) {
    if (refusal(*implementation, problem, facts).empty()) return implementation;
  }
  return nullptr;
}

}  // namespace

std::span<const Implementation* const> implementations() { return kImplementations; }

const Implementation* find_implementation(std::string_view name) {
  for (const Implementation* implementation : kImplementations) {
    if (name == implementation->name) return implementation;
  }
  return nullptr;
}

std::string refusal(const Implementation& implementation, const Problem& problem, const DeviceFacts& facts) {
  if (implementation.device != facts.kind) {
    return "it runs on " + std::string(name_of(implementation.device)) + " devices; this one is " + std::string(name_of(facts.kind));
  }
  return implementation.why_not(problem, facts);
}

std::string refusal(const Implementation& implementation, const Problem& problem, const DeviceFacts& facts, std::string_view force) {
  if (!force.empty() && force != implementation.name) return "another one, " + std::string(force) + ", was asked for by name";
  std::string reason = refusal(implementation, problem, facts);
  if (!reason.empty() || !force.empty() || !problem.batch_invariant) return reason;
  const Implementation* const only = for_every_call(problem, facts);
  if (only != nullptr && only != &implementation)
    reason = "batch invariant: rows have the bits of " + std::string(only->name) + " in every call";
  return reason;
}

std::vector<Plan> candidates_of(const Implementation& implementation, const Problem& problem, const DeviceFacts& facts) {
  if (implementation.candidates == nullptr) return {implementation.plan(problem, facts)};
  return implementation.candidates(problem, facts);
}

std::vector<Plan> candidates(const Problem& problem, const DeviceFacts& facts, std::string_view force) {
  std::vector<Plan> all;
  for (const Implementation* implementation : kImplementations) {
    if (!refusal(*implementation, problem, facts, force).empty()) continue;
    const std::vector<Plan> some = candidates_of(*implementation, problem, facts);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

Result<Plan> choose_plan(const Problem& problem, const DeviceFacts& facts, std::string_view force, const TunedPlans* tuned) {
  if (tuned != nullptr) {
    if (const std::optional<Plan> plan = tuned->plan_for(problem, facts, force)) return *plan;
  }
  if (!force.empty()) {
    const Implementation* forced = find_implementation(force);
    if (forced == nullptr) {
      return invalid_argument("implementation is \"" + std::string(force) + "\"; known are " + known_names());
    }
    const std::string reason = refusal(*forced, problem, facts);
    if (reason.empty()) return forced->plan(problem, facts);
    return unsupported("implementation " + std::string(force) + " cannot run " + describe(problem) + ": " + reason);
  }
  std::string reasons;
  for (const Implementation* implementation : kImplementations) {
    const std::string reason = refusal(*implementation, problem, facts, force);
    if (reason.empty()) return implementation->plan(problem, facts);
    // Those for another kind of device are no news to a caller who knows where the weights are.
    if (implementation->device == facts.kind) reasons += std::string("; ") + implementation->name + ": " + reason;
  }
  return unsupported("no implementation can run " + describe(problem) + " on " + describe(facts) + reasons);
}

std::string describe(const Problem& problem) {
  std::string text = "m=" + std::to_string(problem.m) + " n=" + std::to_string(problem.n) + " k=" + std::to_string(problem.k) +
                     " group=" + std::to_string(problem.group) + " " + std::string(name_of(problem.weight));
  text += ", a " + std::string(name_of(problem.a)) + ", c " + std::string(name_of(problem.c)) + ", scales " +
          std::string(name_of(problem.scale)) + ", precision " + std::string(name_of(problem.precision));
  if (problem.act_order) text += ", act order";
  if (problem.uneven_groups) text += ", uneven groups";
  if (problem.bias) text += ", bias";
  if (problem.wide_scales) text += ", wide scales";
  if (problem.batch_invariant) text += ", batch invariant";
  if (problem.dependent_launch) text += ", dependent launch";
  if (problem.zeroed_workspace) text += ", zeroed workspace";
  if (!problem.aligned_a) text += ", a not aligned to 16 bytes";
  if (!problem.aligned_c) text += ", c not aligned to 16 bytes";
  if (problem.workspace_bytes >= 0) text += ", workspace " + std::to_string(problem.workspace_bytes) + " bytes";
  return text;
}

std::string describe(const DeviceFacts& facts) {
  if (facts.kind == DeviceKind::cuda) {
    return "sm_" + std::to_string(facts.architecture) + " (" + std::to_string(facts.multiprocessors) + " multiprocessors, " +
           std::to_string(facts.shared_bytes_per_block) + " bytes of shared memory a block)";
  }
  std::string features;
  if (facts.avx2) features += " avx2";
  if (facts.avx512) features += " avx512";
  if (facts.avx512_vnni) features += " avx512_vnni";
  if (facts.avx512_bf16) features += " avx512_bf16";
  if (facts.amx) features += " amx";
  return "cpu (" + (features.empty() ? "no vector extension used here" : features.substr(1)) + ")";
}

}  // namespace billfish::gemm
