// SPDX-License-Identifier: Apache-2.0
// The sm90 family: two kernels behind one implementation. The streaming kernel takes few tokens where the caller brings a workspace of
// zeros, the wgmma kernel everything else. What the family refuses is wgmma::why_not's to say.
#include "cuda/cuda.hpp"
#include "cuda/families.hpp"
#include "cuda/sm90/stream_plan.hpp"
#include "cuda/sm90/wgmma_policy.hpp"
#include "gemm/registry.hpp"

namespace billfish::cuda {

namespace {

gemm::Plan plan(const gemm::Problem& problem, const gemm::DeviceFacts& device) {
  return stream::takes(problem, device) ? stream::plan(problem, device) : wgmma::plan(problem, device);
}

Status run(const gemm::Plan& plan, const gemm::Problem& problem, const gemm::Call& call) {
  return plan.policy >= sm90::kPolicies ? stream::run(plan, problem, call) : wgmma::run(plan, problem, call);
}

}  // namespace

const gemm::Implementation sm90{
    "sm90",
    DeviceKind::cuda,
    wgmma::why_not,
    plan,
    run,
    {"fine_groups", "blocks_dealt_to_tiles", "shared_tiles"},
    {"wgmma::run, stream::run (cuda/sm90/)", "wgmma_gemm, stream_gemm (cuda/sm90/)", "ptx::wgmma, ptx::mma (cuda/ptx/)"},
};

}  // namespace billfish::cuda
