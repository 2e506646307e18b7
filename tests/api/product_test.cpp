// SPDX-License-Identifier: Apache-2.0
// Products through the ABI against the oracle: every type, activation, output and implementation, odd shapes, poisoned and guarded memory.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "api/sample.hpp"

namespace billfish::api_test {
namespace {

std::vector<std::string> available_cpu_implementations() {
  std::vector<std::string> names;
  for (int i = 0; i < billfish_implementation_count(); ++i) {
    billfish_implementation_info info = BILLFISH_IMPLEMENTATION_INFO_INIT;
    EXPECT_EQ(billfish_implementation(i, &info), BILLFISH_OK);
    if (info.device_kind == BILLFISH_CPU && info.available) names.push_back(info.name);
  }
  return names;
}

TEST(Product, EveryTypeMatchesTheOracleWithEveryImplementation) {
  const std::vector<std::string> names = available_cpu_implementations();
  ASSERT_GE(names.size(), 2u) << "the scalar kernels and the reference run on any machine";
  std::uint64_t seed = 1;
  for (int type = 0; type < 4; ++type) {
    for (const std::int64_t group : {-1, 16, 32, 128}) {
      SampleOptions options = {static_cast<billfish_weight_type>(type), 72, 208, group, BILLFISH_F16, seed % 2 == 0, seed % 3 == 0, seed};
      if (seed % 4 == 1) options.scale_type = BILLFISH_BF16;
      const Sample sample(options);
      PackedSample packed(sample);
      for (const std::int64_t m : {1, 2, 9, 33}) {
        for (int a_type = 0; a_type < 3; ++a_type) {
          Product product(packed.weights, m, static_cast<billfish_element_type>(a_type), static_cast<billfish_element_type>(seed++ % 3));
          for (const std::string& name : names) {
            product.c.reset(product.c.bytes());
            product.args.c = product.c.data();
            product.args.implementation = name.c_str();
            ASSERT_EQ(product.run(), BILLFISH_OK) << name << ": " << billfish_last_error();
            ASSERT_EQ(product.compare_with_oracle(), "") << name << " type " << type << " group " << group << " m " << m << " a " << a_type;
          }
        }
      }
    }
  }
}

TEST(Product, NothingToDoIsNoErrorEvenWithoutMemory) {
  const Sample sample({});
  PackedSample packed(sample);
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.lda = 176;
  args.ldc = 80;
  EXPECT_EQ(billfish_gemm(&packed.weights, &args, nullptr), BILLFISH_OK) << billfish_last_error();
  billfish_weights empty = BILLFISH_WEIGHTS_INIT;
  empty.scale_type = BILLFISH_F16;
  empty.k = 176;
  empty.group = 32;
  args.m = 3;
  EXPECT_EQ(billfish_gemm(&empty, &args, nullptr), BILLFISH_OK) << billfish_last_error();
}

TEST(Product, WithoutRowsOfWeightsTheResultIsTheBias) {
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  const std::vector<std::uint8_t> bias = as_type(random_floats(80, -1, 1, 4), BILLFISH_F32);
  weights.scale_type = BILLFISH_F16;
  weights.n = 80;
  weights.group = -1;
  weights.bias = const_cast<std::uint8_t*>(bias.data());
  Product product(weights, 2, BILLFISH_F32, BILLFISH_F32);
  ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
  const std::vector<float> got = product.result();
  for (std::size_t i = 0; i < 160; ++i) {
    float expected = 0;
    std::memcpy(&expected, bias.data() + 4 * (i % 80), 4);
    EXPECT_EQ(got[i], expected) << i;
  }
  product.args.flags = BILLFISH_GEMM_NO_BIAS;
  ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
  for (const float value : product.result()) EXPECT_EQ(value, 0.0f);
}

TEST(Product, RowStridesLeaveTheGapsAlone) {
  const Sample sample({BILLFISH_U4, 80, 176, 32});
  PackedSample packed(sample);
  constexpr std::int64_t m = 5, lda = 181, ldc = 97;
  Product product(packed.weights, m, BILLFISH_F16, BILLFISH_F32);
  const std::vector<std::uint8_t> wide = as_type(random_floats(m * lda, -2, 2, 77), BILLFISH_F16);
  product.args.a = wide.data();
  product.args.lda = lda;
  product.c.reset(m * ldc * 4);
  product.args.c = product.c.data();
  product.args.ldc = ldc;
  ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(product.compare_with_oracle(), "");
  const float* c = product.c.as<float>();
  for (std::int64_t row = 0; row < m; ++row) {
    for (std::int64_t column = 80; column < ldc; ++column) {
      EXPECT_TRUE(std::isnan(c[row * ldc + column])) << "row " << row << ", column " << column << " lies between rows of c";
    }
  }
}

// A model's residual block keeps inputs and outputs side by side in one array.
TEST(Product, InputAndOutputMayBeColumnsOfOneArray) {
  const Sample sample({});
  PackedSample packed(sample);
  constexpr std::int64_t m = 3, stride = 176 + 80;
  std::vector<float> both = random_floats(m * stride, -1, 1, 6);
  const std::vector<float> before = both;
  Product product(packed.weights, m, BILLFISH_F32, BILLFISH_F32);
  product.args.a = both.data();
  product.args.lda = stride;
  product.args.c = both.data() + 176;
  product.args.ldc = stride;
  ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
  for (std::int64_t row = 0; row < m; ++row) {
    for (std::int64_t i = 0; i < 176; ++i) ASSERT_EQ(both[row * stride + i], before[row * stride + i]);
  }
  product.args.c = both.data() + 175;  // one column too far left
  EXPECT_EQ(billfish_gemm(&packed.weights, &product.args, nullptr), BILLFISH_INVALID_ARGUMENT);
  product.args.c = both.data() + 177;  // one too far right: reaches into a's next row
  EXPECT_EQ(billfish_gemm(&packed.weights, &product.args, nullptr), BILLFISH_INVALID_ARGUMENT);
}

TEST(Product, TheBiasIsAddedUnlessLeftOut) {
  const Sample sample({BILLFISH_U4B8, 80, 176, 32, BILLFISH_F16, true});
  PackedSample packed(sample);
  Product product(packed.weights, 2, BILLFISH_F32, BILLFISH_F32);
  ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(product.compare_with_oracle(), "");
  const std::vector<float> with = product.result();
  product.args.flags = BILLFISH_GEMM_NO_BIAS;
  ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(product.compare_with_oracle(), "");
  EXPECT_NE(product.result(), with);
}

TEST(Product, AWorkspaceTooSmallIsRefusedNotSlow) {
  const Sample sample({BILLFISH_U4B8, 320, 1024, 128});
  PackedSample packed(sample);
  for (const bool batch_invariant : {false, true}) {
    Product product(packed.weights, 40, BILLFISH_F16, BILLFISH_F32);
    product.args.flags = batch_invariant ? std::uint32_t{BILLFISH_GEMM_BATCH_INVARIANT} : 0u;
    ASSERT_EQ(product.bring_workspace(), BILLFISH_OK) << billfish_last_error();
    const std::size_t best = product.args.workspace_bytes;
    ASSERT_EQ(billfish_gemm(&packed.weights, &product.args, nullptr), BILLFISH_OK) << billfish_last_error();
    EXPECT_EQ(product.compare_with_oracle(), "");
    const auto want = product.result();
    // Any size either works within itself, with the same implementation, or says how much is needed.
    for (std::size_t bytes = best;; bytes = bytes / 2 & ~std::size_t{15}) {
      product.workspace.reset(bytes);
      product.c.reset(product.c.bytes());
      product.args.c = product.c.data();
      product.args.workspace = bytes > 0 ? product.workspace.data() : nullptr;
      product.args.workspace_bytes = bytes;
      const billfish_status status = billfish_gemm(&packed.weights, &product.args, nullptr);
      if (status == BILLFISH_OK) {
        EXPECT_EQ(product.compare_with_oracle(), "") << bytes;
        EXPECT_TRUE(!batch_invariant || product.result() == want) << bytes;
      } else {
        EXPECT_EQ(status, BILLFISH_WORKSPACE_TOO_SMALL) << billfish_last_error();
        const std::string said = billfish_last_error();
        EXPECT_NE(said.find("args->workspace_bytes is " + std::to_string(bytes)), std::string::npos);
        EXPECT_NE(said.find(std::to_string(best)), std::string::npos) << said;
        EXPECT_EQ(said.find("(batch invariant)") != std::string::npos, batch_invariant) << said;
        EXPECT_TRUE(product.c.untouched());
      }
      if (bytes == 0) break;
    }
  }
}

TEST(Product, TheSameCallGivesTheSameBitsWhoeverDoesTheWork) {
  const Sample sample({BILLFISH_U4, 264, 512, 64, BILLFISH_F16, true});
  PackedSample packed(sample);
  billfish_pool* pool = nullptr;
  ASSERT_EQ(billfish_pool_create(3, &pool), BILLFISH_OK);
  billfish_parallel pooled = BILLFISH_PARALLEL_INIT;
  pooled.pool = pool;
  billfish_parallel backwards = BILLFISH_PARALLEL_INIT;  // a parallel-for that runs indices in the order nobody expects
  backwards.parallel_for = [](void* calls, int64_t count, billfish_task_fn task, void* context) {
    ++*static_cast<int*>(calls);
    for (int64_t i = count - 1; i >= 0; --i) task(context, i);
  };
  int calls = 0;
  backwards.user = &calls;
  backwards.threads = 4;
  for (const std::int64_t m : {1, 7, 40}) {
    Product product(packed.weights, m, BILLFISH_BF16, BILLFISH_F32);
    ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
    const std::vector<float> alone = product.result();
    EXPECT_EQ(product.compare_with_oracle(), "");
    for (const billfish_parallel* parallel : {&pooled, &backwards}) {
      product.c.reset(product.c.bytes());
      product.args.c = product.c.data();
      product.args.parallel = parallel;
      ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
      EXPECT_EQ(product.result(), alone) << "m " << m;
    }
  }
  EXPECT_GT(calls, 0);
  billfish_pool_destroy(pool);
}

// The caller's tasks run on the library's stack; the library must not mind being called from there.
TEST(Product, AParallelForMayMultiplyItself) {
  const Sample sample({});
  PackedSample packed(sample);
  Product outer(packed.weights, 4, BILLFISH_F32, BILLFISH_F32);
  ASSERT_EQ(outer.run(), BILLFISH_OK);
  const std::vector<float> expected = outer.result();
  struct Nested {
    const billfish_weights* weights;
    bool all_right;
  } nested = {&packed.weights, true};
  billfish_parallel parallel = BILLFISH_PARALLEL_INIT;
  parallel.user = &nested;
  parallel.threads = 2;
  parallel.parallel_for = [](void* user, int64_t count, billfish_task_fn task, void* context) {
    auto* state = static_cast<Nested*>(user);
    for (int64_t i = 0; i < count; ++i) {
      Product inner(*state->weights, 2 + i % 3, BILLFISH_F32, BILLFISH_F32);
      state->all_right = state->all_right && inner.run() == BILLFISH_OK && inner.compare_with_oracle().empty();
      task(context, i);
    }
  };
  outer.args.parallel = &parallel;
  outer.c.reset(outer.c.bytes());
  outer.args.c = outer.c.data();
  ASSERT_EQ(outer.run(), BILLFISH_OK) << billfish_last_error();
  EXPECT_TRUE(nested.all_right);
  EXPECT_EQ(outer.result(), expected);
}

}  // namespace
}  // namespace billfish::api_test
