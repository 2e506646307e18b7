// SPDX-License-Identifier: Apache-2.0
// The streaming kernel's own hazards: groups that end anywhere in an item, tiles of any number of parts, few rows of A that are copied
// first.
#include <algorithm>
#include <vector>

#include "cuda/sm90/stream_plan.hpp"
#include "cuda/sm90/stream_policy.hpp"
#include "cuda/sm90/wgmma_policy.hpp"
#include "support.hpp"

namespace billfish::cuda_test {
namespace {

ProductOptions few_tokens(std::int64_t m) {
  ProductOptions product;
  product.implementation = "sm90", product.zeroed_workspace = true, product.m = m;
  return product;
}

bool streams(const Product& p) { return p.refusal.empty() && p.plan.policy >= sm90::kPolicies; }

TEST(Stream, GroupsThatEndAnywhereInAnItemAreRight) {
  if (!runs_here("sm90")) return;
  std::uint64_t seed = 40;
  for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128}) {
    for (const ElementType a : {ElementType::f16, ElementType::bf16}) {
      for (const ElementType scale : {ElementType::f16, ElementType::bf16}) {
        for (const std::int64_t group : {16, 32, 48, 64, 80, 96, 112, 128, 192, -1}) {
          MatrixOptions options;
          options.type = type, options.scale_type = scale, options.group = group, options.n = 331, options.k = 1424, options.seed = ++seed;
          const Matrix matrix = make_matrix(options);
          for (const std::int64_t m : {1, 7, 8, 9, 16}) {
            ProductOptions product = few_tokens(m);
            product.a = product.c = a;
            Product p = make_product(matrix, product);
            ASSERT_TRUE(streams(p)) << p.refusal;
            expect_right(p, "groups");
            if (testing::Test::HasFailure()) return;
          }
        }
      }
    }
  }
}

// Replaces the plan by that of a given number of parts a tile.
void cut(Product& p, std::int64_t parts) {
  const std::int64_t tiles = ceil_div(p.problem.n, std::int64_t{sm90::kStreamColumns});
  p.plan = cuda::stream::plan_of(p.problem, p.options.m > 8, tiles * parts, true);
  p.workspace = Buffer(static_cast<std::size_t>(p.plan.workspace_bytes));
  clear_workspace(p);
  p.call.workspace = p.plan.workspace_bytes > 0 ? p.workspace.data() : nullptr;
  p.call.workspace_bytes = p.plan.workspace_bytes;
}

// Where an owner's idle threads fetch sums too, and where they do not.
TEST(Stream, ATileOfAnyNumberOfPartsIsRightAndHasTheSameBitsEveryTime) {
  if (!runs_here("sm90")) return;
  for (const std::int64_t n : {64, 200}) {
    MatrixOptions options;
    options.n = n, options.k = 8704;
    const Matrix matrix = make_matrix(options);
    for (const std::int64_t m : {1, 2, 3, 4, 5, 8, 9, 16}) {
      Product p = make_product(matrix, few_tokens(m));
      ASSERT_TRUE(streams(p)) << p.refusal;
      for (const std::int64_t parts : {1, 2, 4, 5, 6, 9, 10, 17, 33, 34, 42, 60, 66}) {
        if (parts * ceil_div(n, std::int64_t{sm90::kStreamColumns}) > device().multiprocessors) continue;
        cut(p, parts);
        expect_right(p, "parts");
        const std::vector<unsigned char> want = output_of(p);
        for (int round = 0; round < 8; ++round) {
          p.c.poison();
          for (int i = 0; i < 25; ++i) ASSERT_TRUE(run(p).ok());
          require(cudaDeviceSynchronize(), "replays");
          ASSERT_TRUE(output_of(p) == want) << n << " columns, m " << m << ", " << parts << " parts";
        }
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST(Stream, FewRowsThatCannotBeReadAsTheyLieAreCopied) {
  if (!runs_here("sm90")) return;
  std::uint64_t seed = 400;
  for (const bool act_order : {false, true}) {
    for (const std::int64_t k : {600, 1427, 4096}) {
      MatrixOptions options;
      options.n = 333, options.k = k, options.act_order = act_order, options.seed = ++seed;
      options.group = k % 128 == 0 ? 128 : -1;
      const Matrix matrix = make_matrix(options);
      for (const std::int64_t m : {1, 2, 7, 8, 9, 16}) {
        for (const bool dependent : {false, true}) {
          ProductOptions product = few_tokens(m);
          product.dependent_launch = dependent, product.extra_lda = act_order ? 0 : 3, product.shift_a = act_order ? 0 : 2;
          Product p = make_product(matrix, product);
          ASSERT_TRUE(streams(p)) << p.refusal;
          ASSERT_GE(p.plan.gather_offset, 0);
          expect_right(p, "copied rows");
          if (testing::Test::HasFailure()) return;
        }
      }
    }
  }
}

}  // namespace
}  // namespace billfish::cuda_test
