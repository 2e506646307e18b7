// SPDX-License-Identifier: Apache-2.0
// The plans that this thread chose lately. Direct-mapped and thread-local, so that the hot path takes no lock, allocates nothing and
// touches no line that another thread writes. Called by api/gemm.cpp.
#pragma once

#include <cstdint>

#include "gemm/problem.hpp"

namespace billfish::gemm {

struct PlanKey {
  Problem problem;
  Device device;
  const Implementation* forced = nullptr;
  std::uint64_t tuned = 0;  // which table of tuned plans: a plan chosen with an earlier one is not found again
  bool operator==(const PlanKey&) const = default;
};

// Null if this thread has not stored that key since another one took its slot. The plan stays valid until this thread's next store.
const Plan* find_cached_plan(const PlanKey& key);
const Plan* store_plan(const PlanKey& key, const Plan& plan);

}  // namespace billfish::gemm
