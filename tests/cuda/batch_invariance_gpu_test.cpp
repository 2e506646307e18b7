// SPDX-License-Identifier: Apache-2.0
// BILLFISH_GEMM_BATCH_INVARIANT, bit by bit: through the C ABI, as callers have it, a row has the bits that it has in another batch, at
// another place, with another stride or workspace; and with every plan that tuning may choose for it.
// tests/gemm/batch_invariance_test.cpp has what plans say about that without a GPU.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "support.hpp"

namespace billfish::cuda_test {
namespace {

constexpr std::int64_t kRows = 200, kColumns = 832, kDepth = 2752;
constexpr std::size_t kRowBytes = kColumns * 2;

struct Weights {
  WeightType type;
  std::int64_t group;
  ElementType a;
  bool act_order;
};
constexpr Weights kWeights[] = {{WeightType::u4b8, 32, ElementType::f16, false},
                                {WeightType::u4b8, 32, ElementType::f16, true},
                                {WeightType::u4, 128, ElementType::bf16, false},
                                {WeightType::u4, 128, ElementType::bf16, true},
                                {WeightType::u8b128, -1, ElementType::f16, true}};

// How the rows of A lie.
struct Place {
  const char* name;
  std::int64_t extra_lda;
  std::size_t shift_a;
};
constexpr Place kPlaces[] = {{"aligned", 0, 0}, {"an odd stride", 1, 0}, {"off by 2 bytes", 0, 2}};

Matrix matrix_of(const Weights& weights) {
  MatrixOptions options;
  options.type = weights.type, options.group = weights.group, options.act_order = weights.act_order;
  options.scale_type = options.bias_type = weights.a, options.bias = true;
  options.n = kColumns, options.k = kDepth;
  return make_matrix(options);
}

// All rows: the same values wherever they lie.
Product product_of(const Matrix& matrix, const Weights& weights, const Place& place, const char* implementation) {
  ProductOptions options;
  options.implementation = implementation, options.m = kRows, options.a = options.c = weights.a;
  options.extra_lda = place.extra_lda, options.shift_a = place.shift_a, options.batch_invariant = true;
  return make_product(matrix, options);
}

billfish_gemm_args args_of(const Product& whole, std::int64_t first, std::int64_t m, const Buffer& c) {
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.m = m;
  args.a = static_cast<const std::uint16_t*>(whole.call.a) + first * whole.call.lda;
  args.lda = whole.call.lda;
  args.c = c.data();
  args.ldc = kColumns;
  args.a_type = args.c_type = static_cast<billfish_element_type>(whole.problem.a);
  args.flags = BILLFISH_GEMM_BATCH_INVARIANT;
  return args;
}

// Rows [first, first + m) by a call of their own, with the workspace that the library asks for. No name: the library's choice.
std::vector<unsigned char> rows_of(const Product& whole, std::int64_t first, std::int64_t m, std::uint32_t flags,
                                   const char* implementation) {
  const Buffer c(static_cast<std::size_t>(m) * kRowBytes);
  const billfish_weights weights = weights_of(*whole.matrix);
  billfish_gemm_args args = args_of(whole, first, m, c);
  args.flags |= flags;
  args.implementation = implementation;
  std::size_t bytes = 0;
  EXPECT_EQ(billfish_gemm_workspace(&weights, &args, &bytes), BILLFISH_OK) << billfish_last_error();
  const Buffer workspace(bytes);
  if ((flags & BILLFISH_GEMM_ZEROED_WORKSPACE) != 0 && bytes > 0) require(cudaMemset(workspace.data(), 0, bytes), "clearing the workspace");
  args.workspace = bytes > 0 ? workspace.data() : nullptr, args.workspace_bytes = bytes;
  EXPECT_EQ(billfish_gemm(&weights, &args, nullptr), BILLFISH_OK) << billfish_last_error();
  require(cudaDeviceSynchronize(), "a product");
  EXPECT_TRUE(c.guards_intact() && workspace.guards_intact());
  return c.download<unsigned char>();
}

class BatchInvariance : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Cuda, BatchInvariance, testing::Values("sm80", "sm90"), [](const auto& info) { return std::string(info.param); });

TEST_P(BatchInvariance, ARowHasTheSameBitsInEveryCall) {
  if (!runs_here(GetParam())) return;
  constexpr std::uint32_t dependent = BILLFISH_GEMM_DEPENDENT_LAUNCH, zeroed = BILLFISH_GEMM_ZEROED_WORKSPACE;
  for (const Weights& weights : kWeights) {
    const Matrix matrix = matrix_of(weights);
    Product plain = product_of(matrix, weights, kPlaces[0], GetParam());
    ASSERT_EQ(plain.refusal, "");
    expect_right(plain, "all rows");
    const std::vector<unsigned char> want = output_of(plain);
    // On a device of that family the one that is forced is also the one that is chosen.
    const bool chosen = std::strcmp(GetParam(), "sm90") == 0 || device().architecture != 90;
    for (const Place& place : kPlaces) {
      const Product whole = product_of(matrix, weights, place, GetParam());
      ASSERT_EQ(whole.refusal, "");
      for (const std::uint32_t flags : {0u, dependent, zeroed, zeroed | dependent}) {
        for (const std::int64_t m : {1, 7, 16, 17, 64, 200}) {
          for (const std::int64_t first : {std::int64_t{0}, std::min<std::int64_t>(3, kRows - m), kRows - m}) {
            const std::vector<unsigned char> got = rows_of(whole, first, m, flags, chosen && m % 2 == 0 ? nullptr : GetParam());
            ASSERT_EQ(std::memcmp(got.data(), want.data() + static_cast<std::size_t>(first) * kRowBytes, got.size()), 0)
                << m << " rows from " << first << " of " << gemm::describe(whole.problem) << ", A " << place.name << ", flags " << flags;
          }
        }
      }
    }
  }
}

TEST_P(BatchInvariance, EveryPlanGivesARowTheSameBits) {
  if (!runs_here(GetParam())) return;
  int plans = 0;
  for (const Weights& weights : kWeights) {
    const Matrix matrix = matrix_of(weights);
    Product whole = product_of(matrix, weights, kPlaces[0], GetParam());
    ASSERT_EQ(whole.refusal, "");
    expect_right(whole, "all rows");
    const std::vector<unsigned char> want = output_of(whole);
    for (const std::int64_t m : {1, 16, 17, 64, 200}) {
      ProductOptions options = whole.options;
      options.m = m;  // the first rows: the same values
      Product part = make_product(matrix, options);
      for (const gemm::Plan& plan : gemm::candidates_of(*part.plan.implementation, part.problem, device())) {
        const std::string name = std::string(GetParam()) + " " + plan.policy_name + " cluster " + std::to_string(plan.cluster) +
                                 " blocks " + std::to_string(plan.blocks) + " at m = " + std::to_string(m);
        std::printf("%s\n", name.c_str());  // the last one that is printed is the one that hangs
        std::fflush(stdout);
        take_plan(part, plan);
        const std::vector<unsigned char> got = bits_of(part, name.c_str());
        ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size()), 0) << name << ": " << gemm::describe(part.problem);
        ++plans;
      }
    }
  }
  std::printf("%d plans give the same bits\n", plans);
  EXPECT_GT(plans, 50);
}

// Where rows are copied, there is no other family to go to.
TEST(BatchInvarianceWorkspace, TooSmallForACopyOfAIsRefusedWithTheSize) {
  if (!runs_here("sm90")) return;
  const Weights weights = {WeightType::u4b8, 128, ElementType::f16, true};
  const Matrix matrix = matrix_of(weights);
  const Product whole = product_of(matrix, weights, kPlaces[0], "sm90");
  const billfish_weights packed = weights_of(matrix);
  for (const std::int64_t m : {1, 16, 17, 200}) {
    Buffer c(static_cast<std::size_t>(m) * kRowBytes);
    billfish_gemm_args args = args_of(whole, 0, m, c);
    std::size_t bytes = 0;
    ASSERT_EQ(billfish_gemm_workspace(&packed, &args, &bytes), BILLFISH_OK) << billfish_last_error();
    ASSERT_GE(bytes, static_cast<std::size_t>(m * kDepth * 2));
    const Buffer workspace(bytes);
    for (const std::size_t given : {std::size_t{0}, bytes - 1}) {
      args.workspace = given > 0 ? workspace.data() : nullptr, args.workspace_bytes = given;
      EXPECT_EQ(billfish_gemm(&packed, &args, nullptr), BILLFISH_WORKSPACE_TOO_SMALL);
      const std::string said = billfish_last_error();
      EXPECT_NE(said.find("args->workspace_bytes is " + std::to_string(given)), std::string::npos) << said;
      EXPECT_NE(said.find("needs " + std::to_string(bytes)), std::string::npos) << said;
      EXPECT_NE(said.find("batch invariant"), std::string::npos) << said;
    }
    require(cudaDeviceSynchronize(), "after refusals");
    for (const unsigned char byte : c.download<unsigned char>()) ASSERT_EQ(byte, 0xff) << "C was written";
    args.workspace = workspace.data(), args.workspace_bytes = bytes;
    EXPECT_EQ(billfish_gemm(&packed, &args, nullptr), BILLFISH_OK) << billfish_last_error();
    args.workspace = nullptr, args.workspace_bytes = 0, args.flags = 0;
    EXPECT_EQ(billfish_gemm(&packed, &args, nullptr), BILLFISH_OK) << "without the flag none is always enough: " << billfish_last_error();
    require(cudaDeviceSynchronize(), "products");
  }
}

}  // namespace
}  // namespace billfish::cuda_test
