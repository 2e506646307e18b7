// SPDX-License-Identifier: Apache-2.0
// What `explain` says is what choose_plan does, as text and as JSON that parses, and every file it names exists.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>

#include "gemm/json_text.hpp"
#include "gemm/problems.hpp"
#include "gemm/registry.hpp"

namespace billfish::gemm {
namespace {

void expect_json_agrees(const Problem& problem, const DeviceFacts& facts, std::string_view force) {
  const std::string text = explain(problem, facts, force, true);
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << text;
  EXPECT_EQ(json.at("schema"), 1);
  EXPECT_EQ(json.at("problem").at("m"), problem.m);
  EXPECT_EQ(json.at("problem").at("group"), problem.group);
  EXPECT_EQ(json.at("problem").at("type"), std::string(name_of(problem.weight)));
  EXPECT_EQ(json.at("device").at("kind"), std::string(name_of(facts.kind)));
  const auto& candidates = json.at("candidates");
  ASSERT_EQ(candidates.size(), implementations().size());
  const Result<Plan> plan = choose_plan(problem, facts, force);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Implementation& implementation = *implementations()[i];
    EXPECT_EQ(candidates[i].at("name"), implementation.name);
    EXPECT_EQ(candidates[i].at("chosen"), plan.ok() && plan->implementation == &implementation);
    EXPECT_NE(candidates[i].at("can").get<bool>(), !candidates[i].at("reason").get<std::string>().empty());
    EXPECT_EQ(candidates[i].at("reason"), refusal(implementation, problem, facts, force));
  }
  if (!plan.ok()) {
    EXPECT_TRUE(json.at("plan").is_null());
    EXPECT_EQ(json.at("refusal"), plan.status().message());
    return;
  }
  EXPECT_EQ(json.at("plan").at("implementation"), plan->implementation->name);
  EXPECT_EQ(json.at("plan").at("policy"), plan->policy_name);
  EXPECT_EQ(json.at("plan").at("workspace_bytes"), plan->workspace_bytes);
  EXPECT_EQ(json.at("plan").at("blocks"), plan->blocks);
  EXPECT_GE(json.at("chain").size(), 3u) << "no hop behind the registry for " << plan->implementation->name;
}

TEST(Explain, JsonParsesAndAgreesWithThePlan) {
  std::mt19937_64 random(42);
  const std::vector<DeviceFacts> devices = all_devices();
  for (int i = 0; i < 2000; ++i) {
    const Problem problem = random_problem(random);
    const DeviceFacts& facts = devices[random() % devices.size()];
    const std::string force = random() % 3 == 0 ? implementations()[random() % implementations().size()]->name : "";
    expect_json_agrees(problem, facts, force);
    if (HasFailure()) FAIL() << describe(problem) << " on " << describe(facts) << " forced " << force;
  }
}

TEST(Explain, TextNamesEveryCandidateInOrderAndTheChosenOne) {
  Problem problem;
  problem.m = 1;
  problem.n = problem.k = 4096;
  problem.group = 128;
  problem.a = ElementType::f32;
  const std::string text = explain(problem, cpu_with(1), "", false);
  std::size_t at = 0;
  for (const Implementation* implementation : implementations()) {
    const std::size_t found = text.find(std::string("\n  ") + implementation->name, at);
    ASSERT_NE(found, std::string::npos) << implementation->name << " is missing or out of order in\n" << text;
    at = found;
  }
  EXPECT_NE(text.find("yes  chosen"), std::string::npos) << text;
  EXPECT_NE(text.find("billfish_gemm (api/gemm.cpp)"), std::string::npos) << text;
}

// A chain that names files which moved would mislead exactly the reader it is for.
TEST(Explain, EveryFileInTheChainExists) {
  for (const Implementation* implementation : implementations()) {
    int hops = 0;
    for (const char* hop : implementation->hops) {
      if (hop == nullptr) continue;
      ++hops;
      const std::string text = hop;
      const std::size_t open = text.find('('), close = text.find(')', open);
      ASSERT_TRUE(open != std::string::npos && close != std::string::npos) << text;
      std::istringstream files(text.substr(open + 1, close - open - 1));
      for (std::string file; std::getline(files >> std::ws, file, ',');) {
        EXPECT_TRUE(std::filesystem::exists(BILLFISH_SOURCE_DIR "/src/" + file)) << implementation->name << ": " << file;
      }
    }
    EXPECT_GE(hops, 1) << implementation->name << " does not say where a call goes";
  }
  for (const char* file : {"api/gemm.cpp", "gemm/registry.cpp"}) {
    EXPECT_TRUE(std::filesystem::exists(std::string(BILLFISH_SOURCE_DIR "/src/") + file)) << file;
  }
}

TEST(JsonText, EscapesWhatWouldBreakIt) {
  JsonText json;
  json.open('{');
  json.member("quote\" slash\\", "line\nbell\a tab\t");
  json.key("list");
  json.open('[');
  json.value(1);
  json.open('{');
  json.close('}');
  json.value(true);
  json.null();
  json.close(']');
  json.close('}');
  const std::string text = json.take();
  const nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  ASSERT_FALSE(parsed.is_discarded()) << text;
  EXPECT_EQ(parsed.at("quote\" slash\\"), "line\nbell\a tab\t");
  EXPECT_EQ(parsed.at("list").size(), 4u);
}

}  // namespace
}  // namespace billfish::gemm
