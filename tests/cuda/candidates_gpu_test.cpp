// SPDX-License-Identifier: Apache-2.0
// Every plan that tuning may choose: right within its bound on poisoned and guarded memory, the same bits when run again, and a workspace
// that is left as the next call needs it, whichever plan that call has.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "gemm/tuned_plans.hpp"
#include "support.hpp"

namespace billfish::cuda_test {
namespace {

struct Shape {
  std::int64_t m, n, k, group;
  WeightType type;
};
// Few columns and many, K of few stages and of many, one scale row a stage and several, evenly and unevenly, rows of C that begin anywhere,
// tokens in every variant's tile and beyond; in the end many blocks a tile with a stage or two each, which meet at once.
constexpr Shape kShapes[] = {
    {1, 4096, 2048, 128, WeightType::u4b8},   {8, 1024, 4096, 32, WeightType::u4},     {13, 2048, 1024, -1, WeightType::u4b8},
    {32, 4096, 4096, 128, WeightType::u4b8},  {64, 832, 2752, 64, WeightType::u8b128}, {100, 4096, 1024, 128, WeightType::u4},
    {300, 2368, 2048, 128, WeightType::u4b8}, {150, 331, 1424, 48, WeightType::u4},    {520, 577, 1152, 32, WeightType::u4b8}};
constexpr Shape kSmallShapes[] = {{9, 192, 256, 64, WeightType::u4}};  // run under tools that take a hundred times as long

std::string name_of_plan(const gemm::Plan& plan) {
  return std::string(plan.implementation->name) + " " + plan.policy_name + " splits " + std::to_string(plan.splits) + " cluster " +
         std::to_string(plan.cluster) + " blocks " + std::to_string(plan.blocks) + " details " + std::to_string(plan.detail[0]) + " " +
         std::to_string(plan.detail[1]) + " " + std::to_string(plan.detail[2]);
}

void run_all(const Shape& shape, const char* implementation, bool zeroed, int times, int& count) {
  MatrixOptions options;
  options.type = shape.type, options.n = shape.n, options.k = shape.k, options.group = shape.group;
  const Matrix matrix = make_matrix(options);
  ProductOptions given;
  given.implementation = implementation, given.m = shape.m, given.zeroed_workspace = zeroed;
  Product product = make_product(matrix, given);
  ASSERT_EQ(product.refusal, "");
  std::size_t index = 0;
  const std::vector<gemm::Plan> plans = gemm::candidates_of(*gemm::find_implementation(implementation), product.problem, device());
  // The portable family has a thousand: each of its plans is one of a few numbers, and a seventh of them has all values of each.
  const std::size_t step = plans.size() <= 200 ? 1 : times > 1 ? 7 : 61;
  for (; index < plans.size(); index += step) {
    const std::string name = name_of_plan(plans[index]);
    SCOPED_TRACE(name);
    std::printf("%s\n", name.c_str());  // the last one that is printed is the one that hangs
    std::fflush(stdout);
    take_plan(product, plans[index]);
    expect_right(product, name.c_str());
    const std::vector<unsigned char> first = output_of(product);
    for (int again = 0; again < times; ++again) {
      EXPECT_TRUE(bits_of(product, "running it again") == first) << "other bits when run again, time " << again + 1;
    }
    ++count;
    if (testing::Test::HasFailure()) return;
  }
}

// All plans, one after the other, in one workspace: none may leave there what another one takes for a zero.
void share_workspace(const Shape& shape, int rounds) {
  MatrixOptions options;
  options.type = shape.type, options.n = shape.n, options.k = shape.k, options.group = shape.group;
  const Matrix matrix = make_matrix(options);
  ProductOptions given;
  given.implementation = "sm90", given.m = shape.m, given.zeroed_workspace = true;
  Product product = make_product(matrix, given);
  ASSERT_EQ(product.refusal, "");
  const std::vector<gemm::Plan> plans = gemm::candidates_of(*gemm::find_implementation("sm90"), product.problem, device());
  std::int64_t most = 0;
  for (const gemm::Plan& plan : plans) most = std::max(most, plan.workspace_bytes);
  product.workspace = Buffer(static_cast<std::size_t>(most));
  require(cudaMemset(product.workspace.data(), 0, static_cast<std::size_t>(most)), "clearing the workspace");
  product.call.workspace = most > 0 ? product.workspace.data() : nullptr;
  product.call.workspace_bytes = most;
  std::vector<std::vector<unsigned char>> outputs(plans.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < plans.size(); ++i) {
      const std::size_t at = round == rounds - 1 ? plans.size() - 1 - i : i;  // every plan behind another one, once from the back
      product.plan = plans[at];
      const std::vector<unsigned char> output = bits_of(product, name_of_plan(plans[at]).c_str());
      if (round == 0) outputs[at] = output;
      EXPECT_TRUE(output == outputs[at]) << name_of_plan(plans[at]) << ", round " << round;
    }
  }
}

template <std::size_t count>
void run_shapes(const Shape (&shapes)[count], int times) {
  int plans = 0;
  for (const Shape& shape : shapes) {
    if (runs_here("sm80")) run_all(shape, "sm80", false, times, plans);
    if (runs_here("sm90")) {
      run_all(shape, "sm90", false, times, plans);
      run_all(shape, "sm90", true, times, plans);
      share_workspace(shape, times > 1 ? 3 : 2);
    }
    if (testing::Test::HasFailure()) return;
  }
  std::printf("%d plans are right\n", plans);
  EXPECT_GT(plans, 30);
}

TEST(SmallCandidates, EveryPlanIsRightAndRepeatsItsBits) { run_shapes(kSmallShapes, 1); }
TEST(Candidates, EveryPlanIsRightAndRepeatsItsBits) { run_shapes(kShapes, 4); }

// What a loaded file of plans does, from the table to the product.
TEST(Candidates, ATunedPlanIsTheOneThatRuns) {
  if (!runs_here("sm90")) return;
  MatrixOptions options;
  options.n = 1024, options.k = 2048;
  const Matrix matrix = make_matrix(options);
  ProductOptions given;
  given.implementation = "sm90", given.m = 24, given.zeroed_workspace = true;
  Product product = make_product(matrix, given);
  for (const gemm::Plan& plan : gemm::candidates_of(*gemm::find_implementation("sm90"), product.problem, device())) {
    const gemm::TunedPlans table({{gemm::tuned_problem_of(product.problem, device()), 24, 24, gemm::choice_of(plan)}});
    const Result<gemm::Plan> chosen = gemm::choose_plan(product.problem, device(), {}, &table);
    ASSERT_TRUE(chosen.ok() && *chosen == plan) << name_of_plan(plan);
    take_plan(product, *chosen);
    expect_right(product, name_of_plan(plan).c_str());
  }
}

}  // namespace
}  // namespace billfish::cuda_test
