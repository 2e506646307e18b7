// SPDX-License-Identifier: Apache-2.0
// billfish.hpp as a program would use it: owners move and free, spans are checked, refusals are exceptions.
#include "billfish/billfish.hpp"

#include <gtest/gtest.h>

#include <type_traits>
#include <vector>

#include "api/sample.hpp"

namespace billfish::api_test {
namespace {

static_assert(!std::is_copy_constructible_v<billfish::PackedWeights> && std::is_nothrow_move_constructible_v<billfish::PackedWeights>);
static_assert(!std::is_copy_constructible_v<billfish::Pool> && std::is_nothrow_move_constructible_v<billfish::Pool>);
static_assert(!std::is_copy_constructible_v<billfish::Checkpoint>);

TEST(CppHeader, PacksAndMultiplies) {
  const Sample sample({BILLFISH_U4, 80, 176, 32, BILLFISH_F16, true, true});
  billfish::Pool pool(2);
  EXPECT_EQ(pool.threads(), 2);
  billfish::PackedWeights first = billfish::PackedWeights::pack(sample.matrix, pool);
  const billfish::PackedWeights packed = std::move(first);
  EXPECT_EQ(packed.n(), 80);
  EXPECT_EQ(packed.k(), 176);
  EXPECT_GT(packed.bytes(), 80 * 176 / 2);
  const std::vector<float> x = random_floats(3 * 176, -1, 1, 2);
  std::vector<float> y(3 * 80);
  billfish::gemm<float, float>(packed, 3, x, y, pool);
  const std::vector<float> dense = packed.dequantize();
  for (std::size_t row = 0; row < 3; ++row) {
    for (std::size_t n = 0; n < 80; ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < 176; ++k) sum += static_cast<double>(x[row * 176 + k]) * dense[k * 80 + n];
      float bias = 0;
      billfish_tools_to_f32(sample.bias.data() + 2 * n, BILLFISH_F16, &bias, 1);
      EXPECT_NEAR(y[row * 80 + n], sum + bias, 2e-3) << row << ", " << n;
    }
  }
}

TEST(CppHeader, ARefusalIsAnExceptionWithTheMessage) {
  const Sample sample({});
  const billfish::Pool pool(1);
  const billfish::PackedWeights packed = billfish::PackedWeights::pack(sample.matrix, pool);
  std::vector<float> x(176), y(79);
  try {
    billfish::gemm<float, float>(packed, 1, x, y, pool);
    FAIL() << "a span that is too short was taken";
  } catch (const billfish::Error& error) {
    EXPECT_EQ(error.status(), BILLFISH_INVALID_ARGUMENT);
    EXPECT_STREQ(error.what(), "c has 79 elements; 1 x 80 are needed");
  }
  EXPECT_THROW(billfish::Checkpoint("/nowhere/at/all"), billfish::Error);
  EXPECT_THROW(billfish::Pool(-1), billfish::Error);
  EXPECT_THROW(billfish::PackedWeights::borrow(sample.matrix), billfish::Error);
}

TEST(CppHeader, Explains) {
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = 1;
  problem.n = problem.k = 4096;
  problem.group = 128;
  EXPECT_NE(billfish::explain(problem, "cpu").find("chosen"), std::string::npos);
  EXPECT_EQ(billfish::explain(problem, "cpu", true).front(), '{');
  EXPECT_THROW(billfish::explain(problem, "abacus"), billfish::Error);
}

}  // namespace
}  // namespace billfish::api_test
