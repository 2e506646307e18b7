// SPDX-License-Identifier: Apache-2.0
// billfish_gemm, billfish_gemm_workspace, billfish_prepare: checks, then a plan (mostly from this thread's cache), then the launch.
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "api/gemm_arguments.hpp"
#include "api/plans.hpp"
#include "cuda/cuda.hpp"
#include "gemm/plan_cache.hpp"

namespace billfish::api {
namespace {

// A workspace too small for any plan of the implementation that would otherwise run is refused, where the list would go on to a slower
// one in silence. On CUDA every problem has a plan without workspace, by contract, unless it is batch invariant: the list then ends there.
Status check_workspace_kept(const GemmCall& call, const gemm::DeviceFacts& facts, std::string_view force, const Result<gemm::Plan>& plan) {
  if (call.problem.workspace_bytes < 0 || (plan.ok() && facts.kind == DeviceKind::cuda)) return {};
  gemm::Problem unlimited = call.problem;
  unlimited.workspace_bytes = -1;
  const Result<gemm::Plan> wanted = gemm::choose_plan(unlimited, facts, force);
  if (!wanted.ok() || (plan.ok() && plan->implementation == wanted->implementation)) return {};
  std::string reason = "args->workspace_bytes is " + std::to_string(call.problem.workspace_bytes) + ", too small for any plan of " +
                       wanted->implementation->name + "; its best one needs " + std::to_string(wanted->workspace_bytes) +
                       " (billfish_gemm_workspace tells)";
  if (call.problem.batch_invariant && force.empty()) reason += "; another implementation would give rows other bits (batch invariant)";
  return {Code::workspace_too_small, std::move(reason)};
}

Result<gemm::Plan> choose(const GemmCall& call, const gemm::DeviceFacts& facts) {
  const std::string_view force = call.forced != nullptr ? call.forced->name : "";
  if (const PlanTable tuned = current_plans(); tuned != nullptr) {
    if (const std::optional<gemm::Plan> plan = tuned->plan_for(call.problem, facts, force)) return *plan;
  }
  Result<gemm::Plan> plan = gemm::choose_plan(call.problem, facts, force);
  if (Status short_of = check_workspace_kept(call, facts, force, plan); !short_of.ok()) return short_of;
  return plan;
}

// By value: a parallel-for of the caller may multiply on this thread too, and take the slot.
Result<gemm::Plan> plan_of(const GemmCall& call) {
  const gemm::PlanKey key = {call.problem, call.weights.device, call.forced, plans_version()};
  if (const gemm::Plan* cached = gemm::find_cached_plan(key)) return *cached;
  const Result<gemm::DeviceFacts> facts = facts_of(call.weights.device);
  if (!facts.ok()) return facts.status();
  Result<gemm::Plan> plan = choose(call, *facts);
  if (!plan.ok()) return plan;
  gemm::store_plan(key, *plan);
  if (logging())
    log(BILLFISH_LOG_DEBUG, "planned " + gemm::describe(call.problem) + ": " + plan->implementation->name + " " + plan->policy_name);
  return plan;
}

Status multiply(const billfish_weights* weights, const billfish_gemm_args* args, void* stream) {
  GemmCall call;
  BILLFISH_RETURN_IF_ERROR(read_gemm(weights, args, Uses::everything, call));
  if (call.problem.m == 0 || call.problem.n == 0) return {};
  const Result<gemm::Plan> plan = plan_of(call);
  if (!plan.ok()) return plan.status();
  call.call.stream = stream;
  return plan->implementation->run(*plan, call.problem, call.call);
}

Status workspace_of(const billfish_weights* weights, const billfish_gemm_args* args, std::size_t* bytes) {
  if (bytes == nullptr) return null_argument("bytes");
  *bytes = 0;
  GemmCall call;
  BILLFISH_RETURN_IF_ERROR(read_gemm(weights, args, Uses::shape_only, call));
  if (call.problem.m == 0 || call.problem.n == 0) return {};
  const Result<gemm::Plan> plan = plan_of(call);
  if (!plan.ok()) return plan.status();
  *bytes = static_cast<std::size_t>(plan->workspace_bytes);
  return {};
}

Status prepare(const billfish_device_kind& kind, int index) {
  Device device;
  BILLFISH_RETURN_IF_ERROR(read_device("kind", "device_index", kind, index, device));
  const gemm::Implementation* forced = nullptr;
  BILLFISH_RETURN_IF_ERROR(find_forced(nullptr, forced));
  const Result<gemm::DeviceFacts> facts = facts_of(device);
  if (!facts.ok()) return facts.status();
  (void)plans_version();
  return device.kind == DeviceKind::cuda ? cuda::prepare(index) : Status();
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_gemm(const billfish_weights* weights, const billfish_gemm_args* args, void* stream) {
  return billfish::api::guarded([&] { return billfish::api::multiply(weights, args, stream); });
}

billfish_status billfish_gemm_workspace(const billfish_weights* weights, const billfish_gemm_args* args, size_t* bytes) {
  return billfish::api::guarded([&] { return billfish::api::workspace_of(weights, args, bytes); });
}

billfish_status billfish_prepare(billfish_device_kind kind, int device_index) {
  return billfish::api::guarded([&] { return billfish::api::prepare(kind, device_index); });
}

}  // extern "C"
