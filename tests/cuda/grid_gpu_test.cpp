// SPDX-License-Identifier: Apache-2.0
// Every combination of type, activation, output, group, shape, stride, bias and order, pairwise, on every CUDA implementation, on poisoned
// and guarded memory, against the reference in double. A refusal must be one of the documented ones.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "support.hpp"

namespace billfish::cuda_test {
namespace {

// The last: as callers that bring a workspace of zeros, which the streaming kernel needs.
constexpr struct {
  const char* name;
  bool zeroed;
} kImplementations[] = {{"sm80", false}, {"sm90", false}, {"sm90", true}};
constexpr int kCount = 3;

// The reasons for which a family may refuse a problem that the grid holds.
bool documented(const std::string& reason) {
  for (const char* known : {"group", "act order", "aligned", "device is sm_", "wide", "batch", "k is", "n is", "scales are", "lda",
                            "alignment", "stored zeros"}) {
    if (reason.find(known) != std::string::npos) return true;
  }
  return false;
}

struct Axis {
  int size;
};

// Rows in which every pair of values of every two axes occurs: greedy, from a seeded stream of random rows, the best of some at a time.
std::vector<std::vector<int>> pairwise(const std::vector<int>& sizes, std::uint64_t seed) {
  Random random(seed);
  const std::size_t axes = sizes.size();
  std::vector<std::vector<std::vector<char>>> seen(axes, std::vector<std::vector<char>>(axes));
  std::size_t missing = 0;
  for (std::size_t i = 0; i < axes; ++i) {
    for (std::size_t j = i + 1; j < axes; ++j) {
      seen[i][j].assign(static_cast<std::size_t>(sizes[i] * sizes[j]), 0);
      missing += seen[i][j].size();
    }
  }
  std::vector<std::vector<int>> rows;
  while (missing > 0) {
    std::vector<int> best;
    std::size_t best_new = 0;
    for (int attempt = 0; attempt < 400 || best_new == 0; ++attempt) {
      std::vector<int> row(axes);
      for (std::size_t i = 0; i < axes; ++i) row[i] = static_cast<int>(random.below(sizes[i]));
      std::size_t fresh = 0;
      for (std::size_t i = 0; i < axes; ++i) {
        for (std::size_t j = i + 1; j < axes; ++j) fresh += !seen[i][j][static_cast<std::size_t>(row[i] * sizes[j] + row[j])];
      }
      if (fresh > best_new) best_new = fresh, best = row;
    }
    for (std::size_t i = 0; i < axes; ++i) {
      for (std::size_t j = i + 1; j < axes; ++j) {
        char& mark = seen[i][j][static_cast<std::size_t>(best[i] * sizes[j] + best[j])];
        missing -= !mark;
        mark = 1;
      }
    }
    rows.push_back(best);
  }
  return rows;
}

constexpr WeightType kTypes[] = {WeightType::u4b8, WeightType::u4, WeightType::u8b128, WeightType::u8};
constexpr ElementType kActivations[] = {ElementType::f16, ElementType::bf16};
constexpr ElementType kOutputs[] = {ElementType::f16, ElementType::bf16, ElementType::f32};
constexpr std::int64_t kGroups[] = {-1, 16, 32, 48, 64, 128, 208, 256};

struct Tally {
  int right = 0, refused = 0;
  double worst_metric[2] = {};  // f16, bf16
};

// One grid cell on one implementation.
void check(const MatrixOptions& options, const Matrix& matrix, const ProductOptions& product, Tally& tally) {
  Product p = make_product(matrix, product);
  if (!p.refusal.empty()) {
    EXPECT_TRUE(documented(p.refusal)) << gemm::describe(p.problem) << ": " << p.refusal;
    ++tally.refused;
    return;
  }
  const double metric = expect_right(p, "grid");
  const bool bf16 = product.a == ElementType::bf16 || product.c == ElementType::bf16 || options.scale_type == ElementType::bf16;
  tally.worst_metric[bf16] = std::max(tally.worst_metric[bf16], metric);
  EXPECT_LT(metric, bf16 ? 0.02 : 0.004) << gemm::describe(p.problem);  // the community accepts 0.04
  ++tally.right;
}

void run_grid(const std::vector<std::int64_t>& ms, const std::vector<std::int64_t>& ns, const std::vector<std::int64_t>& ks,
              const char* name) {
  Tally tally[kCount];
  const std::vector<int> sizes = {4, 2, 3, 8, static_cast<int>(ms.size()), static_cast<int>(ns.size()), static_cast<int>(ks.size()),
                                  2, 3, 2, 4};
  std::uint64_t seed = 100;
  for (const std::vector<int>& row : pairwise(sizes, 7)) {
    MatrixOptions options;
    options.type = kTypes[row[0]];
    options.group = kGroups[row[3]];
    options.n = ns[static_cast<std::size_t>(row[5])];
    options.k = ks[static_cast<std::size_t>(row[6])];
    options.scale_type = kActivations[row[7]];
    options.bias = row[8] != 0;
    options.bias_permuted = row[8] == 2 && options.n % 32 == 0;
    options.bias_type = kActivations[1 - row[7]];
    options.act_order = row[9] == 1;
    options.seed = ++seed;
    const Matrix matrix = make_matrix(options);
    ProductOptions product;
    product.a = kActivations[row[1]];
    product.c = kOutputs[row[2]];
    product.m = ms[static_cast<std::size_t>(row[4])];
    product.seed = ++seed;
    switch (row[10]) {
      case 1: product.extra_lda = 8, product.extra_ldc = 16; break;
      case 2: product.extra_lda = 3, product.extra_ldc = 1; break;
      case 3: product.shift_a = 2, product.shift_c = product.c == ElementType::f32 ? 4 : 2; break;
      default: break;
    }
    for (int i = 0; i < kCount; ++i) {
      product.implementation = kImplementations[i].name, product.zeroed_workspace = kImplementations[i].zeroed;
      if (!runs_here(product.implementation)) continue;
      check(options, matrix, product, tally[i]);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  for (int i = 0; i < kCount; ++i) {
    std::printf("%s, %s%s: %d right, %d refused; worst mean|C-ref|/mean|ref| %.2e (f16 all through), %.2e (bf16 somewhere)\n", name,
                kImplementations[i].name, kImplementations[i].zeroed ? " with a workspace of zeros" : "", tally[i].right, tally[i].refused,
                tally[i].worst_metric[0], tally[i].worst_metric[1]);
    if (runs_here(kImplementations[i].name)) EXPECT_GT(tally[i].right, 0);
  }
}

TEST(SmallGrid, EveryPairOfOptionsIsRight) {
  run_grid({0, 1, 2, 7, 8, 9, 15, 16, 17, 33}, {1, 8, 48, 64, 72, 200}, {16, 48, 90, 128, 208}, "small");
}

TEST(Grid, EveryPairOfOptionsIsRight) {
  run_grid({0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 128, 129, 255, 257, 512, 1000, 4096},
           {1, 8, 48, 64, 72, 256, 832, 1000, 2368, 4096, 11008}, {16, 48, 128, 208, 1408, 2048, 2752, 4096, 14336}, "large");
}

}  // namespace
}  // namespace billfish::cuda_test
