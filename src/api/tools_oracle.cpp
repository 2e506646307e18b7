// SPDX-License-Identifier: Apache-2.0
// billfish_tools_oracle, billfish_tools_oracle_bounds, billfish_tools_bound: what the product should be, and how far from it an
// implementation may be.
#include <algorithm>
#include <string>
#include <vector>

#include "api/gemm_arguments.hpp"
#include "api/plans.hpp"
#include "billfish/billfish_tools.h"
#include "reference/reference.hpp"

namespace billfish::api {
namespace {

// Columns are worked on in blocks, so that the oracle's sums of a large product need no memory of its size.
constexpr std::int64_t kBlockElements = 1 << 18;

Status read_bound_device(const billfish_device_kind& kind, DeviceKind& out) {
  return read_enum("bound_device", kind, 2, "0 (cpu), 1 (cuda)", out);
}

// How whoever runs this may round. The length of its sums is the plan's to say; workspace and alignment, which the oracle is not told,
// may change the plan, so the worst of those possible counts.
reference::Rounding rounding_for(const GemmCall& call, DeviceKind kind) {
  reference::Rounding rounding = reference::rounding_of(call.problem, kind);
  const Result<gemm::DeviceFacts> facts = facts_of({kind, 0});
  if (!facts.ok()) return rounding;
  const PlanTable tuned = current_plans();
  std::int64_t longest = 0;
  for (const std::int64_t workspace : {std::int64_t{-1}, std::int64_t{0}, call.call.workspace_bytes}) {
    for (const bool aligned : {true, false}) {
      gemm::Problem problem = call.problem;
      problem.workspace_bytes = workspace;
      problem.aligned_a = problem.aligned_c = aligned;
      const Result<gemm::Plan> plan = gemm::choose_plan(problem, *facts, call.forced != nullptr ? call.forced->name : "", tuned.get());
      if (!plan.ok()) continue;
      const reference::Rounding planned = reference::rounding_of(problem, *plan);
      if (planned.chain == 0) return rounding;  // not said: the worst
      const bool splits = longest > 0 && rounding.activations_split, after = longest > 0 && rounding.zeros_after_sum;
      if (planned.chain > longest) {
        longest = planned.chain;
        rounding = planned;
      }
      rounding.activations_split = splits || planned.activations_split;
      rounding.zeros_after_sum = after || planned.zeros_after_sum;
    }
  }
  return rounding;
}

Status oracle(const billfish_weights* weights, const billfish_gemm_args* args, std::int64_t n0, std::int64_t n1,
              const billfish_device_kind& bound_device, double* y, double* bound, double* probable) {
  GemmCall call;
  BILLFISH_RETURN_IF_ERROR(read_gemm(weights, args, Uses::inputs_only, call));
  BILLFISH_RETURN_IF_ERROR(require_cpu("weights->device_kind", call.weights.device));
  DeviceKind kind = DeviceKind::cpu;
  BILLFISH_RETURN_IF_ERROR(read_bound_device(bound_device, kind));
  const gemm::Problem& problem = call.problem;
  if (n0 < 0 || n1 < n0 || n1 > problem.n) {
    return invalid_argument("n0 is " + std::to_string(n0) + " and n1 is " + std::to_string(n1) +
                            "; supported are 0 <= n0 <= n1 <= n = " + std::to_string(problem.n));
  }
  if (problem.m == 0 || n0 == n1) return {};
  if (y == nullptr) return null_argument("y");
  const reference::Rounding rounding = rounding_for(call, kind);
  const std::int64_t width = n1 - n0, block = std::min(width, std::max<std::int64_t>(64, kBlockElements / problem.m));
  std::vector<reference::Sums> sums(static_cast<std::size_t>(problem.m * block));
  for (std::int64_t begin = n0; begin < n1; begin += block) {
    const std::int64_t columns = std::min(block, n1 - begin);
    reference::multiply(call.weights, call.call.a, problem.a, problem.m, call.call.lda, problem.bias, begin, begin + columns, sums.data(),
                        call.call.parallel);
    for (std::int64_t row = 0; row < problem.m; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        const reference::Sums& element = sums[static_cast<std::size_t>(row * columns + column)];
        const std::int64_t at = row * width + begin - n0 + column;
        y[at] = element.y;
        if (bound != nullptr) bound[at] = reference::bound(rounding, problem.k, element);
        if (probable != nullptr) probable[at] = reference::probable_bound(rounding, problem.k, element);
      }
    }
  }
  return {};
}

Status bounds(const billfish_weights* weights, const billfish_gemm_args* args, const billfish_device_kind& bound_device, const double* y,
              const double* magnitude, std::int64_t count, double* bound) {
  GemmCall call;
  BILLFISH_RETURN_IF_ERROR(read_gemm(weights, args, Uses::shape_only, call));
  DeviceKind kind = DeviceKind::cpu;
  BILLFISH_RETURN_IF_ERROR(read_bound_device(bound_device, kind));
  if (count < 0) return invalid_argument("count is " + std::to_string(count) + "; it must be 0 or more");
  if (count == 0) return {};
  if (y == nullptr) return null_argument("y");
  if (magnitude == nullptr) return null_argument("magnitude");
  if (bound == nullptr) return null_argument("bound");
  const reference::Rounding rounding = rounding_for(call, kind);
  if (rounding.zeros_after_sum || rounding.precision == Precision::int8) {
    return unsupported(
        "y and magnitude do not tell how such an implementation rounds: it subtracts zeros after the sum, or rounds activations to int8; "
        "use billfish_tools_oracle");
  }
  for (std::int64_t i = 0; i < count; ++i) {
    reference::Sums sums;
    sums.y = y[i];
    sums.magnitude = sums.unzeroed = sums.peak = magnitude[i];  // the latter two only for the question whether f32 may overflow
    bound[i] = reference::bound(rounding, call.problem.k, sums);
  }
  return {};
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_tools_oracle(const billfish_weights* weights, const billfish_gemm_args* args, int64_t n0, int64_t n1,
                                      billfish_device_kind bound_device, double* y, double* bound) {
  return billfish::api::guarded([&] { return billfish::api::oracle(weights, args, n0, n1, bound_device, y, bound, nullptr); });
}

billfish_status billfish_tools_oracle_bounds(const billfish_weights* weights, const billfish_gemm_args* args, int64_t n0, int64_t n1,
                                             billfish_device_kind bound_device, double* y, double* bound, double* probable) {
  return billfish::api::guarded([&] { return billfish::api::oracle(weights, args, n0, n1, bound_device, y, bound, probable); });
}

billfish_status billfish_tools_bound(const billfish_weights* weights, const billfish_gemm_args* args, billfish_device_kind bound_device,
                                     const double* y, const double* magnitude, int64_t count, double* bound) {
  return billfish::api::guarded([&] { return billfish::api::bounds(weights, args, bound_device, y, magnitude, count, bound); });
}

}  // extern "C"
