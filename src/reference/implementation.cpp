// SPDX-License-Identifier: Apache-2.0
// The oracle as an implementation: the last of the list, for problems that no kernel takes. Any shape, type, group, order and stride.
#include <algorithm>

#include "core/half.hpp"
#include "gemm/registry.hpp"
#include "reference/reference.hpp"

namespace billfish::reference {
namespace {

constexpr std::int64_t kTileM = 16;
constexpr std::int64_t kTileN = 8;

std::string why_not(const gemm::Problem&, const gemm::DeviceFacts&) { return {}; }

gemm::Plan plan(const gemm::Problem& problem, const gemm::DeviceFacts&) {
  gemm::Plan plan;
  plan.implementation = &implementation;
  plan.policy_name = "double";
  plan.tile_m = static_cast<int>(kTileM);
  plan.tile_n = static_cast<int>(kTileN);
  plan.threads = problem.threads;
  plan.blocks = ceil_div(problem.m, kTileM) * ceil_div(problem.n, kTileN);
  plan.chain = 1;  // sums are in double: one rounding, at the end
  return plan;
}

Status run(const gemm::Plan&, const gemm::Problem& problem, const gemm::Call& call) {
  const std::int64_t n_tiles = ceil_div(problem.n, kTileN);
  call.parallel.run(ceil_div(problem.m, kTileM) * n_tiles, [&](std::int64_t tile) {
    const std::int64_t m0 = tile / n_tiles * kTileM;
    const std::int64_t m1 = std::min(m0 + kTileM, problem.m);
    const std::int64_t n0 = tile % n_tiles * kTileN;
    const std::int64_t n1 = std::min(n0 + kTileN, problem.n);
    Sums sums[kTileM * kTileN];
    const char* const a = static_cast<const char*>(call.a) + m0 * call.lda * bytes_of(problem.a);
    multiply(*call.weights, a, problem.a, m1 - m0, call.lda, call.bias, n0, n1, sums, Parallel());
    for (std::int64_t m = m0; m < m1; ++m) {
      for (std::int64_t n = n0; n < n1; ++n) {
        store_element(call.c, problem.c, m * call.ldc + n, static_cast<float>(sums[(m - m0) * (n1 - n0) + n - n0].y));
      }
    }
  });
  return {};
}

}  // namespace

constinit const gemm::Implementation implementation = {
    "reference", DeviceKind::cpu, why_not, plan, nullptr, run, {}, {"reference::multiply (reference/multiply.cpp)"}};

}  // namespace billfish::reference
