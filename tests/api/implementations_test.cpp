// SPDX-License-Identifier: Apache-2.0
// The list, explanations, and forcing one by BILLFISH_FORCE, which is read once and so needs a process of its own.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/sample.hpp"

namespace billfish::api_test {
namespace {

billfish_problem ordinary_problem() {
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = 1;
  problem.n = problem.k = 4096;
  problem.group = 128;
  problem.a_type = problem.c_type = problem.scale_type = BILLFISH_F16;
  problem.workspace_bytes = -1;
  return problem;
}

std::string explained(const billfish_problem& problem, const char* device, const char* implementation, int json, billfish_status expected) {
  std::size_t length = 0;
  EXPECT_EQ(billfish_explain(&problem, device, implementation, json, nullptr, 0, &length), expected) << billfish_last_error();
  std::string text(length + 1, '?');
  EXPECT_EQ(billfish_explain(&problem, device, implementation, json, text.data(), text.size(), &length), expected);
  EXPECT_EQ(text.back(), '\0');
  text.pop_back();
  return text;
}

TEST(Implementations, TheUnavailableSayWhy) {
  ASSERT_EQ(billfish_implementation_count(), 7);
  std::vector<std::string> names;
  for (int i = 0; i < 7; ++i) {
    billfish_implementation_info info = BILLFISH_IMPLEMENTATION_INFO_INIT;
    ASSERT_EQ(billfish_implementation(i, &info), BILLFISH_OK);
    names.push_back(info.name);
    EXPECT_EQ(info.available == 1, std::string(info.reason).empty()) << info.name;
    if (info.device_kind == BILLFISH_CUDA && billfish_tools_cuda_devices() == 0) {
      EXPECT_EQ(info.available, 0) << info.name;
    }
    billfish_implementation_info again = BILLFISH_IMPLEMENTATION_INFO_INIT;
    ASSERT_EQ(billfish_implementation(i, &again), BILLFISH_OK);
    EXPECT_EQ(info.reason, again.reason) << "the string is said to be static";
  }
  EXPECT_EQ(names, (std::vector<std::string>{"sm90", "sm80", "cpu_amx", "cpu_avx512", "cpu_avx2", "cpu_scalar", "reference"}));
}

TEST(Explain, JsonOfEveryDeviceParses) {
  for (const char* device : {"cpu", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"}) {
    const nlohmann::json json = nlohmann::json::parse(explained(ordinary_problem(), device, nullptr, 1, BILLFISH_OK), nullptr, false);
    ASSERT_FALSE(json.is_discarded()) << device;
    EXPECT_EQ(json.at("candidates").size(), 7u);
    EXPECT_TRUE(json.at("plan").is_object()) << device;
  }
  const std::string sm90 = explained(ordinary_problem(), "sm_90", nullptr, 0, BILLFISH_OK);
  EXPECT_NE(sm90.find("plan        sm90"), std::string::npos) << sm90;
}

TEST(Explain, ARefusedProblemIsExplainedToo) {
  billfish_problem problem = ordinary_problem();
  problem.a_type = BILLFISH_F32;
  const std::string text = explained(problem, "sm_90", nullptr, 0, BILLFISH_UNSUPPORTED);
  EXPECT_NE(text.find("f32"), std::string::npos) << text;
  EXPECT_NE(text.find("plan        none"), std::string::npos) << text;
  EXPECT_NE(explained(ordinary_problem(), "cpu", "sm90", 0, BILLFISH_UNSUPPORTED).find("plan        none"), std::string::npos);
}

// A device need not be here for a caller to learn what the flag asks of it.
TEST(Explain, ABatchInvariantProblemIsToldTheWorkspaceItNeeds) {
  billfish_problem problem = ordinary_problem();
  problem.a_type = problem.c_type = problem.scale_type = BILLFISH_F16;
  problem.act_order = 1;
  problem.flags = BILLFISH_GEMM_BATCH_INVARIANT;
  const std::string any = explained(problem, "sm_90", nullptr, 0, BILLFISH_OK);
  EXPECT_NE(any.find("plan        sm90"), std::string::npos) << any;
  problem.workspace_bytes = 0;
  const std::string none = explained(problem, "sm_90", nullptr, 0, BILLFISH_UNSUPPORTED);
  EXPECT_NE(none.find("needs a copy of A in a workspace of "), std::string::npos) << none;
  EXPECT_NE(none.find("batch invariant: rows have the bits of sm90 in every call"), std::string::npos) << none;
  EXPECT_NE(explained(problem, "sm_80", nullptr, 0, BILLFISH_OK).find("plan        sm80"), std::string::npos);
  EXPECT_NE(explained(problem, "sm_90", "sm80", 0, BILLFISH_OK).find("plan        sm80"), std::string::npos) << "named, it runs every row";
  problem.flags = 0;
  EXPECT_NE(explained(problem, "sm_90", nullptr, 0, BILLFISH_OK).find("plan        sm80"), std::string::npos);
}

TEST(Explain, ATextTooLongIsCutAndItsLengthTold) {
  const std::string whole = explained(ordinary_problem(), "cpu", nullptr, 0, BILLFISH_OK);
  char text[33];
  std::memset(text, '#', sizeof text);
  std::size_t length = 0;
  const billfish_problem problem = ordinary_problem();
  ASSERT_EQ(billfish_explain(&problem, "cpu", nullptr, 0, text, 32, &length), BILLFISH_OK);
  EXPECT_EQ(length, whole.size());
  EXPECT_EQ(std::string(text), whole.substr(0, 31));
  EXPECT_EQ(text[32], '#');
}

// Runs this program's own test of that name, with the environment variable set from the start; its output.
std::string in_new_process(const char* test, const char* force, int& exit_code) {
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  EXPECT_GT(length, 0);
  self[length > 0 ? length : 0] = '\0';
  const std::string command = std::string("BILLFISH_FORCE='") + force + "' '" + self + "' --gtest_filter=" + test + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[512];
  while (pipe != nullptr && fgets(buffer, sizeof buffer, pipe) != nullptr) output += buffer;
  const int status = pipe != nullptr ? pclose(pipe) : -1;
  exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

// What a call does depends on the environment alone here: ordinary runs see it unforced, the next two tests forced.
TEST(Force, ReportsWhoRuns) {
  const Sample sample({});
  PackedSample packed(sample);
  Product product(packed.weights, 2, BILLFISH_F32, BILLFISH_F32);
  static std::string note;
  billfish_set_log([](void*, billfish_log_level, const char* message) { note += std::string(message) + "\n"; }, nullptr);
  const billfish_status status = product.run();
  billfish_set_log(nullptr, nullptr);
  std::printf("status %d\n%s%s\n", static_cast<int>(status), note.c_str(), status == BILLFISH_OK ? "" : billfish_last_error());
  if (std::getenv("BILLFISH_FORCE") == nullptr) {
    EXPECT_EQ(status, BILLFISH_OK);
    EXPECT_EQ(product.compare_with_oracle(), "");
  }
}

TEST(Force, TheEnvironmentNamesAnImplementationForEveryCall) {
  int exit_code = -1;
  for (const char* name : {"reference", "cpu_scalar"}) {
    const std::string output = in_new_process("Force.ReportsWhoRuns", name, exit_code);
    EXPECT_EQ(exit_code, 0) << output;
    EXPECT_NE(output.find(std::string(": ") + name), std::string::npos) << output;
  }
}

TEST(Force, AWrongNameInTheEnvironmentIsAnErrorNotIgnored) {
  int exit_code = -1;
  const std::string output = in_new_process("Force.ReportsWhoRuns", "cpu_avx9", exit_code);
  EXPECT_NE(output.find("status 1"), std::string::npos) << output;
  EXPECT_NE(output.find("BILLFISH_FORCE is \"cpu_avx9\"; known are sm90"), std::string::npos) << output;
}

}  // namespace
}  // namespace billfish::api_test
