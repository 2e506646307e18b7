// SPDX-License-Identifier: Apache-2.0
// Files of tuned plans: a good one is read, everything that can be wrong with one is refused with the entry and the member named, and what
// is not ours to read may be anything.
#include "formats/plan_file.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "formats/files.hpp"

namespace billfish::formats {
namespace {

using Json = nlohmann::json;

Json good() {
  return Json::parse(R"({"schema": 1, "device": {"kind": "cuda", "architecture": 90, "multiprocessors": 132, "name": "any"}, "when": "now",
    "plans": [{"type": "u4b8", "act": "f16", "n": 4096, "k": 14336, "group": 128, "zeroed_workspace": true, "dependent_launch": false,
               "m_from": 33, "m_to": 64, "us": 12.5, "candidates": [{"us": 1e3, "plan": {}}],
               "plan": {"implementation": "sm90", "policy": "128x64", "tile_m": 64, "tile_n": 128, "splits": 2, "cluster": 2,
                        "threads": 384, "blocks": 64, "detail": [0, 1, 2, 132]}}]})");
}

TEST(PlanFile, AGoodOneIsRead) {
  const Result<PlanFile> file = parse_plan_file("plans.json", good().dump());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->kind, DeviceKind::cuda);
  EXPECT_EQ(file->architecture, 90);
  EXPECT_EQ(file->multiprocessors, 132);
  ASSERT_EQ(file->plans.size(), 1u);
  const FilePlan& plan = file->plans[0];
  EXPECT_EQ(plan.weight, WeightType::u4b8);
  EXPECT_EQ(plan.a, ElementType::f16);
  EXPECT_TRUE(plan.n == 4096 && plan.k == 14336 && plan.group == 128 && plan.m_from == 33 && plan.m_to == 64);
  EXPECT_TRUE(plan.zeroed_workspace && !plan.dependent_launch);
  EXPECT_EQ(plan.implementation + " " + plan.policy, "sm90 128x64");
  EXPECT_TRUE(plan.tile_m == 64 && plan.tile_n == 128 && plan.splits == 2 && plan.cluster == 2 && plan.threads == 384 && plan.blocks == 64);
  EXPECT_EQ(plan.detail[3], 132);
  Json column = good();
  column["plans"][0]["group"] = -1;
  EXPECT_EQ(parse_plan_file("plans.json", column.dump())->plans[0].group, 14336) << "one group of all";
  Json none = good();
  none["plans"] = Json::array();
  EXPECT_TRUE(parse_plan_file("plans.json", none.dump())->plans.empty());
  EXPECT_TRUE(parse_plan_file("plans.json", R"({"schema": 1, "device": {"kind": "cpu"}, "plans": []})").ok());
}

void expect_refused(const std::string& json, const std::vector<std::string>& words) {
  const Result<PlanFile> file = parse_plan_file("plans.json", json);
  ASSERT_FALSE(file.ok()) << json;
  EXPECT_EQ(file.status().code(), Code::bad_input);
  const std::string message = file.status().message();
  EXPECT_TRUE(message.starts_with("plans.json")) << message;
  EXPECT_LT(message.size(), 400u);
  for (const std::string& word : words) EXPECT_NE(message.find(word), std::string::npos) << message << " does not say " << word;
}

TEST(PlanFile, WhatIsWrongIsNamedWithItsEntry) {
  const auto refused = [](const std::function<void(Json&)>& change, const std::vector<std::string>& words) {
    Json json = good();
    json["plans"].push_back(json["plans"][0]);
    change(json);
    expect_refused(json.dump(), words);
  };
  const auto entry = [&](const char* member, const Json& value, const std::vector<std::string>& words) {
    refused([&](Json& json) { json["plans"][1][member] = value; }, words);
  };
  const auto plan = [&](const char* member, const Json& value, const std::vector<std::string>& words) {
    refused([&](Json& json) { json["plans"][1]["plan"][member] = value; }, words);
  };
  refused([](Json& j) { j.erase("schema"); }, {"schema is missing"});
  refused([](Json& j) { j["schema"] = 2; }, {"schema is 2", "reads 1"});
  refused([](Json& j) { j["schema"] = "1"; }, {"schema is \"1\"", "whole number"});
  refused([](Json& j) { j.erase("device"); }, {"device is missing"});
  refused([](Json& j) { j["device"] = "H200"; }, {"device is not an object"});
  refused([](Json& j) { j["device"]["kind"] = "tpu"; }, {"device.kind is 'tpu'", "cpu, cuda"});
  refused([](Json& j) { j["device"].erase("architecture"); }, {"device.architecture is missing"});
  refused([](Json& j) { j["device"]["multiprocessors"] = 0; }, {"device.multiprocessors is 0", "1 to"});
  refused([](Json& j) { j["plans"] = 5; }, {"plans is not a list"});
  refused([](Json& j) { j["plans"][1] = 5; }, {"plans[1] is not an object"});
  entry("type", "int4", {"plans[1].type is 'int4'", "u4b8, u4, u8b128, u8"});
  entry("type", 4, {"plans[1].type is 4", "a name"});
  entry("act", "f8", {"plans[1].act is 'f8'", "f32, f16, bf16"});
  entry("n", 0, {"plans[1].n is 0"});
  entry("n", 1.5, {"plans[1].n is 1.5", "whole number"});
  entry("k", -4096, {"plans[1].k is -4096"});
  entry("k", std::uint64_t{1} << 63, {"plans[1].k is 9223372036854775808"});
  entry("group", 0, {"plans[1].group is 0"});
  entry("group", -2, {"plans[1].group is -2"});
  entry("zeroed_workspace", 1, {"plans[1].zeroed_workspace is 1", "true or false"});
  entry("m_from", 65, {"plans[1].m_from is 65", "m_to"});
  entry("m_to", nullptr, {"plans[1].m_to is null"});
  entry("plan", "128x64", {"plans[1].plan is not an object"});
  plan("implementation", 90, {"plans[1].plan.implementation is 90"});
  plan("policy", std::string(10000, 'x'), {"plans[1].plan.policy", "at most 64"});
  plan("splits", -1, {"plans[1].plan.splits is -1"});
  plan("blocks", "many", {"plans[1].plan.blocks is \"many\""});
  plan("detail", Json::array({1, 2, 3}), {"plans[1].plan.detail", "4 whole numbers"});
  plan("detail", Json::array({1, 2, 3, 0.5}), {"plans[1].plan.detail[3] is 0.5"});
  for (const char* member : {"type", "act", "n", "k", "group", "zeroed_workspace", "dependent_launch", "m_from", "m_to", "plan"}) {
    refused([&](Json& j) { j["plans"][1].erase(member); }, {std::string("plans[1].") + member + " is missing"});
  }
}

TEST(PlanFile, WhatIsNoJsonIsRefusedWithItsLine) {
  expect_refused("", {});
  expect_refused("[]", {"not an object"});
  expect_refused("{\"schema\": 1,\n\"device\": nothing}", {":2:", "not valid JSON"});
  expect_refused("{\"schema\": 1,\n\n\"device\": {\"kind\": \"cpu\"}, \"plans\": [],}", {":3:"});
  expect_refused(good().dump() + "x", {"not valid JSON"});
  expect_refused(good().dump() + std::string(1, '\0') + "{}", {"is 0"});
  expect_refused(std::string(100, '['), {"nested deeper"});
  expect_refused("{\"schema\": 1e999, \"device\": {}, \"plans\": []}", {});
  expect_refused("{\"schema\": NaN}", {"not valid JSON"});
  expect_refused("{\"schema\": 1, \"device\": {\"kind\": \"\xff\xfe\"}, \"plans\": []}", {});
}

// Nested where the known names would be, and nothing of it kept.
TEST(PlanFile, MembersThatAreNotKnownMayBeAnything) {
  Json json = good();
  json["plans"][0]["candidates"] = Json::array();
  for (int i = 0; i < 1000; ++i) json["plans"][0]["candidates"].push_back({{"plan", {{"policy", i}}}, {"us", {1, 2, {{"n", "x"}}}}});
  json["plans"][0]["plan"]["later"] = Json::array({Json::object()});
  json["later"] = {{"plans", 5}};
  const Result<PlanFile> file = parse_plan_file("plans.json", json.dump());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->plans[0].policy, "128x64");
}

TEST(PlanFile, PathsThatAreNoFileAreRefused) {
  EXPECT_EQ(read_plan_file("/nonexistent/plans.json").status().code(), Code::bad_input);
  EXPECT_NE(read_plan_file("/nonexistent/plans.json").status().message().find("/nonexistent/plans.json"), std::string::npos);
  EXPECT_EQ(read_plan_file("/").status().code(), Code::bad_input);
}

}  // namespace
}  // namespace billfish::formats
