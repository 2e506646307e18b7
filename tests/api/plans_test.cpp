// SPDX-License-Identifier: Apache-2.0
// billfish_load_plans and BILLFISH_PLANS: what is loaded counts from the next call on, in every thread, and what cannot be loaded changes
// nothing.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "api/sample.hpp"
#include "billfish/billfish.hpp"

namespace billfish::api_test {
namespace {

using Json = nlohmann::json;

billfish_problem some_problem(std::int64_t m) {
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = m;
  problem.n = 4096;
  problem.k = 4096;
  problem.group = 128;
  problem.a_type = problem.c_type = problem.scale_type = BILLFISH_F16;
  problem.flags = BILLFISH_GEMM_DEPENDENT_LAUNCH | BILLFISH_GEMM_ZEROED_WORKSPACE;
  return problem;
}

Json candidates_of(const billfish_problem& problem) {
  std::size_t length = 0;
  EXPECT_EQ(billfish_tools_candidates(&problem, "sm_90", "sm90", nullptr, 0, &length), BILLFISH_OK) << billfish_last_error();
  std::vector<char> text(length + 1);
  EXPECT_EQ(billfish_tools_candidates(&problem, "sm_90", "sm90", text.data(), text.size(), &length), BILLFISH_OK);
  return Json::parse(text.data());
}

Json plan_of(const billfish_problem& problem) {
  std::vector<char> text(1 << 15);
  EXPECT_EQ(billfish_explain(&problem, "sm_90", nullptr, 1, text.data(), text.size(), nullptr), BILLFISH_OK) << billfish_last_error();
  return Json::parse(text.data())["plan"];
}

// A candidate that the library does not choose.
std::size_t other_of(const Json& list) {
  std::size_t index = 0;
  while (list["candidates"][index]["chosen"].get<bool>() || list["candidates"][index]["plan"]["splits"] == 1) ++index;
  return index;
}

Json file_with(const billfish_problem& problem, const Json& plan) {
  return {{"schema", 1},
          {"device", {{"kind", "cuda"}, {"architecture", 90}, {"multiprocessors", 132}}},
          {"plans",
           {{{"type", "u4b8"},
             {"act", "f16"},
             {"n", problem.n},
             {"k", problem.k},
             {"group", problem.group},
             {"zeroed_workspace", true},
             {"dependent_launch", true},
             {"m_from", problem.m},
             {"m_to", problem.m},
             {"plan", plan}}}}};
}

struct Plans : testing::Test {
  std::string path = testing::TempDir() + "billfish-plans-" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) + "-" +
                     std::to_string(std::hash<std::thread::id>()(std::this_thread::get_id())) + ".json";
  ~Plans() override {
    billfish_load_plans(nullptr);
    std::remove(path.c_str());
  }
  const char* write(const Json& json) const {
    std::ofstream(path) << json.dump(1);
    return path.c_str();
  }
};

TEST_F(Plans, ALoadedPlanIsChosenUntilItIsForgotten) {
  const billfish_problem problem = some_problem(48);
  const Json before = plan_of(problem), list = candidates_of(problem), other = list["candidates"][other_of(list)]["plan"];
  EXPECT_FALSE(before["tuned"].get<bool>());
  ASSERT_EQ(billfish_load_plans(write(file_with(problem, other))), BILLFISH_OK) << billfish_last_error();
  const Json loaded = plan_of(problem);
  EXPECT_TRUE(loaded["tuned"].get<bool>());
  EXPECT_EQ(loaded["policy"], other["policy"]);
  EXPECT_EQ(loaded["splits"], other["splits"]);
  EXPECT_EQ(loaded["blocks"], other["blocks"]);
  EXPECT_FALSE(plan_of(some_problem(49))["tuned"].get<bool>());
  std::thread([&] { EXPECT_TRUE(plan_of(problem)["tuned"].get<bool>()); }).join();
  ASSERT_EQ(billfish_load_plans(nullptr), BILLFISH_OK);
  EXPECT_EQ(plan_of(problem), before);
}

TEST_F(Plans, WhatCannotBeLoadedChangesNothing) {
  const billfish_problem problem = some_problem(48);
  const Json list = candidates_of(problem), other = list["candidates"][other_of(list)]["plan"];
  const Json good = file_with(problem, other);
  ASSERT_EQ(billfish_load_plans(write(good)), BILLFISH_OK) << billfish_last_error();
  const Json before = plan_of(problem);
  const auto refused = [&](const Json& json, const std::string& words) {
    EXPECT_EQ(billfish_load_plans(write(json)), BILLFISH_BAD_INPUT);
    const std::string message = billfish_last_error();
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_NE(message.find(words), std::string::npos) << message;
    EXPECT_EQ(plan_of(problem), before);
  };
  Json bad = good;
  bad["plans"].push_back(bad["plans"][0]);
  bad["plans"][1]["plan"]["implementation"] = "sm95";
  refused(bad, "plans[1].plan: implementation is \"sm95\"; known are sm90");
  bad["plans"][1]["plan"]["implementation"] = "cpu_avx2";
  refused(bad, "plans[1].plan.implementation is cpu_avx2");
  bad["plans"][1]["plan"] = 3;
  refused(bad, "plans[1].plan is not an object");
  EXPECT_EQ(billfish_load_plans("/nonexistent/plans.json"), BILLFISH_BAD_INPUT);
  EXPECT_EQ(plan_of(problem), before);
}

TEST_F(Plans, AreLoadedAndForgottenFromCpp) {
  const billfish_problem problem = some_problem(48);
  const Json before = plan_of(problem), list = candidates_of(problem);
  billfish::load_plans(write(file_with(problem, list["candidates"][other_of(list)]["plan"])));
  EXPECT_TRUE(plan_of(problem)["tuned"].get<bool>());
  try {
    billfish::load_plans("/nonexistent/plans.json");
    ADD_FAILURE() << "no such file";
  } catch (const billfish::Error& error) {
    EXPECT_EQ(error.status(), BILLFISH_BAD_INPUT);
    EXPECT_NE(std::string(error.what()).find("/nonexistent/plans.json"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(plan_of(problem)["tuned"].get<bool>()) << "what cannot be loaded changes nothing";
  billfish::forget_plans();
  EXPECT_EQ(plan_of(problem), before);
}

// Of calls that must be batch invariant a file keeps what sums as they do without it.
TEST_F(Plans, ChangeNoBitOfABatchInvariantProduct) {
  billfish_problem problem = some_problem(48);
  const Json list = candidates_of(problem);
  ASSERT_EQ(billfish_load_plans(write(file_with(problem, list["candidates"][other_of(list)]["plan"]))), BILLFISH_OK);
  problem.flags |= BILLFISH_GEMM_BATCH_INVARIANT;
  EXPECT_FALSE(plan_of(problem)["tuned"].get<bool>()) << "it splits K";
  const Json alike = candidates_of(problem);
  const std::size_t last = alike["candidates"].size() - 1;
  ASSERT_FALSE(alike["candidates"][last]["chosen"].get<bool>());
  ASSERT_EQ(billfish_load_plans(write(file_with(problem, alike["candidates"][last]["plan"]))), BILLFISH_OK);
  const Json loaded = plan_of(problem);
  EXPECT_TRUE(loaded["tuned"].get<bool>());
  EXPECT_EQ(loaded["policy"], alike["candidates"][last]["plan"]["policy"]);
  EXPECT_EQ(loaded["splits"], 1);
}

TEST_F(Plans, AnUnknownPolicyIsPassedOver) {
  const billfish_problem problem = some_problem(48);
  const Json list = candidates_of(problem);
  Json other = list["candidates"][other_of(list)]["plan"];
  other["policy"] = "512x512";
  const Json before = plan_of(problem);
  ASSERT_EQ(billfish_load_plans(write(file_with(problem, other))), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(plan_of(problem), before);
}

TEST_F(Plans, ACandidateCanBeTriedAndLeft) {
  const billfish_problem problem = some_problem(16);
  const Json before = plan_of(problem), list = candidates_of(problem);
  const std::size_t index = other_of(list);
  ASSERT_EQ(billfish_tools_use_candidate(&problem, "sm_90", "sm90", static_cast<std::int64_t>(index)), BILLFISH_OK)
      << billfish_last_error();
  EXPECT_EQ(plan_of(problem)["blocks"], list["candidates"][index]["plan"]["blocks"]);
  ASSERT_EQ(billfish_tools_use_candidate(&problem, "sm_90", "sm90", -1), BILLFISH_OK);
  EXPECT_EQ(plan_of(problem), before);
  EXPECT_EQ(billfish_tools_use_candidate(&problem, "sm_90", "sm90", 100000), BILLFISH_INVALID_ARGUMENT);
  EXPECT_NE(std::string(billfish_last_error()).find("index is 100000; there are "), std::string::npos);
}

// The plans of products that were made before are cached by thread: loading must reach them, and a running product must not notice.
TEST_F(Plans, ProductsTakeTheLoadedPlanAtOnceInEveryThread) {
  const Sample sample({BILLFISH_U4B8, 128, 256, 64});
  PackedSample packed(sample);
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = 3;
  problem.n = 128;
  problem.k = 256;
  problem.group = 64;
  problem.a_type = problem.scale_type = BILLFISH_F16;
  problem.threads = 1;
  const auto workspace = [&] {
    Product product(packed.weights, 3, BILLFISH_F16, BILLFISH_F32);
    std::size_t bytes = ~std::size_t{0};
    EXPECT_EQ(billfish_gemm_workspace(&packed.weights, &product.args, &bytes), BILLFISH_OK) << billfish_last_error();
    return bytes;
  };
  const std::size_t before = workspace();
  ASSERT_GT(before, 0u) << "the oracle needs none: that is how its plan is told";
  const auto load_reference = [&] {
    std::vector<char> text(1 << 15);
    ASSERT_EQ(billfish_tools_candidates(&problem, "cpu", "reference", text.data(), text.size(), nullptr), BILLFISH_OK);
    Json json = file_with(problem, Json::parse(text.data())["candidates"][0]["plan"]);
    json["device"] = {{"kind", "cpu"}};
    json["plans"][0]["zeroed_workspace"] = json["plans"][0]["dependent_launch"] = false;
    ASSERT_EQ(billfish_load_plans(write(json)), BILLFISH_OK) << billfish_last_error();
  };
  std::atomic<int> step{0};
  std::thread elsewhere([&] {
    EXPECT_EQ(workspace(), before);
    step = 1;
    while (step != 2) std::this_thread::yield();
    EXPECT_EQ(workspace(), 0u) << "another thread's cached plan";
  });
  while (step != 1) std::this_thread::yield();
  load_reference();
  step = 2;
  elsewhere.join();
  EXPECT_EQ(workspace(), 0u);
  Product product(packed.weights, 3, BILLFISH_F16, BILLFISH_F32);
  EXPECT_EQ(billfish_gemm(&packed.weights, &product.args, nullptr), BILLFISH_OK) << "no workspace: " << billfish_last_error();

  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const std::size_t bytes = workspace();
        EXPECT_TRUE(bytes == 0 || bytes == before) << bytes;
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    billfish_load_plans(nullptr);
    ASSERT_EQ(billfish_load_plans(path.c_str()), BILLFISH_OK);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  billfish_load_plans(nullptr);
  EXPECT_EQ(workspace(), before);
}

}  // namespace
}  // namespace billfish::api_test
