// SPDX-License-Identifier: Apache-2.0
// See plan_cache.hpp. A key is hashed to one slot; whoever comes later to an occupied slot replaces what it holds.
#include "gemm/plan_cache.hpp"

#include <cstddef>

namespace billfish::gemm {
namespace {

// A model has about ten distinct layer shapes, and a server a few dozen values of m: 128 slots of 0.25 KB are ample.
constexpr std::size_t kSlots = 128;

struct Slot {
  PlanKey key;  // m == 0, which is never planned, marks an empty slot
  Plan plan;
};

constinit thread_local Slot slots[kSlots];

std::size_t slot_of(const PlanKey& key) {
  const Problem& p = key.problem;
  std::uint64_t hash = 0;
  const auto mix = [&hash](std::uint64_t value) { hash = (hash ^ value) * 0x9e3779b97f4a7c15u; };
  mix(static_cast<std::uint64_t>(p.m));
  mix(static_cast<std::uint64_t>(p.n));
  mix(static_cast<std::uint64_t>(p.k));
  // What seldom differs between calls need not be spread well: equality decides in the end.
  mix(static_cast<std::uint64_t>(p.group) ^ static_cast<std::uint64_t>(p.weight) << 40 ^ static_cast<std::uint64_t>(p.a) << 44 ^
      static_cast<std::uint64_t>(p.precision) << 48 ^ static_cast<std::uint64_t>(key.device.index) << 52);
  return static_cast<std::size_t>(hash >> 57);
}
static_assert(kSlots == std::size_t{1} << (64 - 57));

}  // namespace

const Plan* find_cached_plan(const PlanKey& key) {
  const Slot& slot = slots[slot_of(key)];
  return slot.key == key ? &slot.plan : nullptr;
}

const Plan* store_plan(const PlanKey& key, const Plan& plan) {
  Slot& slot = slots[slot_of(key)];
  slot = {key, plan};
  return &slot.plan;
}

}  // namespace billfish::gemm
