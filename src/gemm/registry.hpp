// SPDX-License-Identifier: Apache-2.0
// The ordered list of implementations. The first whose why_not is empty runs the problem; `explain` prints the others' reasons.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.hpp"
#include "gemm/problem.hpp"

namespace billfish::gemm {

class TunedPlans;

// Pure functions, but for run: same inputs, same answer, no device touched.
struct Implementation {
  const char* name;
  DeviceKind device;
  // Empty if it can run the problem on such a device; else a reason that a person can act on. Must not allocate when empty.
  std::string (*why_not)(const Problem&, const DeviceFacts&);
  // Only for problems that why_not allows. Respects problem.workspace_bytes when it is >= 0.
  Plan (*plan)(const Problem&, const DeviceFacts&);
  // Every plan it could run such a problem with, that of `plan` among them: what tuning tries. Null: there is only the one.
  std::vector<Plan> (*candidates)(const Problem&, const DeviceFacts&);
  // Launches (CUDA) or computes (CPU) a plan of its own. m > 0, n > 0; k may be 0 (C = bias or 0).
  Status (*run)(const Plan&, const Problem&, const Call&);
  // What follows is for `explain` alone.
  const char* detail_names[4] = {};  // what Plan::detail holds; null: not shown
  // The last hops of a call, "sm90::launch (cuda/sm90/wgmma_launch.cu)": host half, kernel, instruction wrappers. Null: not shown.
  const char* hops[3] = {};
};

// All, in order of preference: sm90, sm80, cpu_avx512, cpu_avx2, cpu_scalar, reference. Those not compiled in are listed too, with
// a why_not that says so.
std::span<const Implementation* const> implementations();
const Implementation* find_implementation(std::string_view name);  // nullptr if there is none

// The plan that `tuned` (null: none) has for the problem; else the best by the implementations' own judgement, or the plan of the one named
// `force` (empty: none). Unsupported lists every refusal.
// A batch-invariant problem runs on the implementation that takes its weights at m = 1 with all the workspace in the world, or not at all:
// two implementations give a row different bits, so that neither m, nor where A lies, nor a workspace, nor a loaded plan may choose between
// them. Within one, every plan for such a problem gives a row the same bits.
Result<Plan> choose_plan(const Problem&, const DeviceFacts&, std::string_view force = {}, const TunedPlans* tuned = nullptr);

// All plans of an implementation that can run the problem; those of all that choose_plan would take, none if `force` names an unknown one.
std::vector<Plan> candidates_of(const Implementation&, const Problem&, const DeviceFacts&);
std::vector<Plan> candidates(const Problem&, const DeviceFacts&, std::string_view force);

// Text or JSON for `explain`: every candidate in order with its refusal, the chosen plan and the hops of the call.
std::string explain(const Problem&, const DeviceFacts&, std::string_view force, bool json, const TunedPlans* tuned = nullptr);

// All candidates as JSON, each as a file of tuned plans writes a plan, the model's choice marked. Refusals as of choose_plan.
Result<std::string> list_candidates(const Problem&, const DeviceFacts&, std::string_view force);

// Why this implementation cannot run the problem there, its device included; empty if it can.
std::string refusal(const Implementation&, const Problem&, const DeviceFacts&);
// Why choose_plan may not take it, which can besides be that another one was forced, or that of a batch-invariant problem.
std::string refusal(const Implementation&, const Problem&, const DeviceFacts&, std::string_view force);

// "m=1 n=4096 k=4096 group=128 u4b8, a f16, c f16, ...": for messages.
std::string describe(const Problem&);
std::string describe(const DeviceFacts&);

}  // namespace billfish::gemm
