// SPDX-License-Identifier: Apache-2.0
// The tuned plans of this process: one immutable table at a time, replaced whole. Called by every file of api/ that chooses a plan.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "gemm/tuned_plans.hpp"

namespace billfish::api {

using PlanTable = std::shared_ptr<const gemm::TunedPlans>;

namespace plans {
// Of the table that counts now; 0: the environment has not been asked yet.
extern constinit std::atomic<std::uint64_t> version;
// Reads the file that the environment variable BILLFISH_PLANS names, the first time. What is wrong with it goes to the log.
void look_at_environment();
}  // namespace plans

// Part of the key of every cached plan, so that a new table makes those of before stale. One load on the hot path.
inline std::uint64_t plans_version() {
  if (plans::version.load(std::memory_order_acquire) == 0) [[unlikely]] {
    plans::look_at_environment();
  }
  return plans::version.load(std::memory_order_acquire);
}

// Null if there is nothing in it. Takes a lock: for those who plan, not for those who find a plan in the cache.
PlanTable current_plans();

}  // namespace billfish::api
