// SPDX-License-Identifier: Apache-2.0
// The plan cache never answers with another problem's plan: not for any single field, not across devices, names or threads.
#include "gemm/plan_cache.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "gemm/problems.hpp"
#include "gemm/registry.hpp"

namespace billfish::gemm {
namespace {

PlanKey some_key() {
  PlanKey key;
  key.problem.m = 4;
  key.problem.n = key.problem.k = 4096;
  key.problem.group = 128;
  return key;
}

Plan marked(std::int64_t mark) {
  Plan plan;
  plan.blocks = mark;
  return plan;
}

TEST(PlanCache, EveryFieldOfTheKeyCounts) {
  const std::vector<std::function<void(PlanKey&)>> changes = {
      [](PlanKey& k) { k.problem.m = 5; },
      [](PlanKey& k) { k.problem.n = 4097; },
      [](PlanKey& k) { k.problem.k = 4097; },
      [](PlanKey& k) { k.problem.group = 64; },
      [](PlanKey& k) { k.problem.weight = WeightType::u4; },
      [](PlanKey& k) { k.problem.a = ElementType::bf16; },
      [](PlanKey& k) { k.problem.c = ElementType::bf16; },
      [](PlanKey& k) { k.problem.scale = ElementType::bf16; },
      [](PlanKey& k) { k.problem.precision = Precision::int8; },
      [](PlanKey& k) { k.problem.act_order = true; },
      [](PlanKey& k) { k.problem.uneven_groups = true; },
      [](PlanKey& k) { k.problem.bias = true; },
      [](PlanKey& k) { k.problem.wide_scales = true; },
      [](PlanKey& k) { k.problem.batch_invariant = true; },
      [](PlanKey& k) { k.problem.dependent_launch = true; },
      [](PlanKey& k) { k.problem.aligned_a = false; },
      [](PlanKey& k) { k.problem.aligned_c = false; },
      [](PlanKey& k) { k.problem.threads = 2; },
      [](PlanKey& k) { k.problem.workspace_bytes = 0; },
      [](PlanKey& k) { k.device.kind = DeviceKind::cuda; },
      [](PlanKey& k) { k.device.index = 1; },
      [](PlanKey& k) { k.forced = implementations()[0]; },
      [](PlanKey& k) { k.tuned = 1; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const PlanKey key = some_key();
    store_plan(key, marked(1));
    PlanKey other = key;
    changes[i](other);
    EXPECT_EQ(find_cached_plan(other), nullptr) << "change " << i << " was not seen";
    ASSERT_NE(find_cached_plan(key), nullptr);
    EXPECT_EQ(find_cached_plan(key)->blocks, 1);
  }
}

TEST(PlanCache, ManyProblemsNeverGetEachOthersPlans) {
  std::mt19937_64 random(3);
  std::vector<PlanKey> keys;
  for (int i = 0; i < 2000; ++i) keys.push_back({random_problem(random), {}, nullptr});
  int hits = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::size_t index = random() % keys.size();
    if (const Plan* plan = find_cached_plan(keys[index])) {
      ++hits;
      ASSERT_EQ(keys[static_cast<std::size_t>(plan->blocks)], keys[index]);
    }
    store_plan(keys[index], marked(static_cast<std::int64_t>(index)));
  }
  EXPECT_GT(hits, 0);
}

TEST(PlanCache, AThreadSeesOnlyItsOwn) {
  const PlanKey key = some_key();
  store_plan(key, marked(11));
  std::thread([&] { EXPECT_EQ(find_cached_plan(key), nullptr); }).join();
  ASSERT_NE(find_cached_plan(key), nullptr);
}

// The shapes of a model at one batch size must not push each other out all the time: then there would be no cache.
TEST(PlanCache, TheLayersOfAModelMostlyStay) {
  std::vector<PlanKey> keys;
  const std::int64_t shapes[][2] = {{4096, 4096}, {6144, 4096}, {28672, 4096}, {4096, 14336}, {1024, 4096}, {128256, 4096}};
  for (const auto& shape : shapes) {
    for (std::int64_t m = 1; m <= 4; ++m) {
      PlanKey key = some_key();
      key.problem.m = m;
      key.problem.n = shape[0];
      key.problem.k = shape[1];
      keys.push_back(key);
    }
  }
  for (const PlanKey& key : keys) store_plan(key, marked(1));
  int stayed = 0;
  for (const PlanKey& key : keys) stayed += find_cached_plan(key) != nullptr;
  EXPECT_GE(stayed, static_cast<int>(keys.size()) * 3 / 4);
}

}  // namespace
}  // namespace billfish::gemm
