// SPDX-License-Identifier: Apache-2.0
// The sm90 family: two kernels behind one implementation. The streaming kernel takes few tokens where the caller brings a workspace of
// zeros, the wgmma kernel everything else, both after a copy of the activations where they need one. What the family refuses is
// wgmma::why_not's to say, and gather.hpp's.
#include <algorithm>
#include <string>
#include <vector>

#include "cuda/cuda.hpp"
#include "cuda/families.hpp"
#include "cuda/sm90/gather.hpp"
#include "cuda/sm90/shares_plan.hpp"
#include "cuda/sm90/stream_plan.hpp"
#include "cuda/sm90/wgmma_policy.hpp"
#include "gemm/registry.hpp"

namespace billfish::cuda {

namespace {

constexpr std::int64_t kGatherAlignment = 256;

std::int64_t gather_bytes(const gemm::Problem& p) { return round_up(gather::bytes(p), kGatherAlignment); }

// Where a copy of A may begin in a workspace at the earliest: a workspace of zeros begins with what must stay as it is.
std::int64_t first_free(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  return p.zeroed_workspace ? zeros_bytes(device.multiprocessors) : 0;
}

// As if A lay as the kernels read it. Whoever wants its workspace too must know that the problem's sizes are within bounds.
gemm::Problem readable(const gemm::Problem& problem) {
  gemm::Problem p = problem;
  p.act_order = false;
  p.aligned_a = true;
  return p;
}

// The problem that is left when A has been copied.
gemm::Problem gathered(const gemm::Problem& problem) {
  gemm::Problem p = readable(problem);
  if (p.workspace_bytes >= 0) p.workspace_bytes = std::max<std::int64_t>(0, p.workspace_bytes - gather_bytes(p) - kGatherAlignment);
  return p;
}

std::string why_not(const gemm::Problem& p, const gemm::DeviceFacts& device) {
  if (!gather::is_needed(p) || !gather::pays(p)) return wgmma::why_not(p, device);
  std::string reason = wgmma::why_not(readable(p), device);
  if (!reason.empty() || p.workspace_bytes < 0) return reason;
  const std::int64_t needed = first_free(p, device) + gather_bytes(p);
  if (p.workspace_bytes < needed) {
    reason = std::string(p.act_order ? "act order" : "A that is not aligned to 16 bytes") + " needs a copy of A in a workspace of " +
             std::to_string(needed) + " bytes, this one has " + std::to_string(p.workspace_bytes);
  }
  return reason;
}

// The copy of A lies behind what the plan itself needs.
gemm::Plan with_copy(gemm::Plan plan, const gemm::Problem& problem, const gemm::DeviceFacts& device) {
  plan.gather_offset = std::max(round_up(plan.workspace_bytes, kGatherAlignment), first_free(problem, device));
  plan.workspace_bytes = plan.gather_offset + gather_bytes(problem);
  return plan;
}

gemm::Plan plan(const gemm::Problem& problem, const gemm::DeviceFacts& device) {
  const bool copies = gather::is_needed(problem);
  const gemm::Problem p = copies ? gathered(problem) : problem;
  const gemm::Plan plan = stream::takes(p, device) ? stream::plan(p, device) : wgmma::plan(p, device);
  return copies ? with_copy(plan, problem, device) : plan;
}

std::vector<gemm::Plan> candidates(const gemm::Problem& problem, const gemm::DeviceFacts& device) {
  const bool copies = gather::is_needed(problem);
  const gemm::Problem p = copies ? gathered(problem) : problem;
  std::vector<gemm::Plan> plans = stream::candidates(p, device);
  const std::vector<gemm::Plan> others = wgmma::candidates(p, device);
  plans.insert(plans.end(), others.begin(), others.end());
  if (copies) {
    for (gemm::Plan& one : plans) one = with_copy(one, problem, device);
  }
  return plans;
}

Status run(const gemm::Plan& plan, const gemm::Problem& problem, const gemm::Call& call) {
  const auto multiply = plan.policy >= sm90::kPolicies ? stream::run : wgmma::run;
  if (plan.gather_offset < 0) return multiply(plan, problem, call);
  gemm::Call second = call;
  void* const copy = static_cast<unsigned char*>(call.workspace) + plan.gather_offset;
  BILLFISH_RETURN_IF_ERROR(gather::run(problem, call, copy, plan.dependent_launch));
  second.a = copy;
  second.lda = gather::row_elements(problem);
  return multiply(plan, gathered(problem), second);
}

}  // namespace

const gemm::Implementation sm90{
    "sm90",
    DeviceKind::cuda,
    why_not,
    plan,
    candidates,
    run,
    {"fine_groups", "blocks_dealt_to_tiles", "shared_tiles"},
    {"wgmma::run, stream::run (cuda/sm90/)", "wgmma_gemm, stream_gemm (cuda/sm90/)", "ptx::wgmma, ptx::mma (cuda/ptx/)"},
};

}  // namespace billfish::cuda
