// SPDX-License-Identifier: Apache-2.0
// The maps' proofs are static_asserts beside them; here: what a compile-time proof cannot reach (matrices beyond 2^31 elements), and the
// tables that the literature gives, written out as tables.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>

#include "layout/awq_order.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/gptq.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"

namespace billfish::layout {
namespace {

constexpr std::int64_t kHugeN = 1 << 17;
constexpr std::int64_t kHugeK = 1 << 17;  // 2^34 codes

TEST(Maps, RoundTripFarBeyond32Bits) {
  std::mt19937_64 random(20261121);
  for (int trial = 0; trial < 200000; ++trial) {
    const Element e{static_cast<std::int64_t>(random() % kHugeK), static_cast<std::int64_t>(random() % kHugeN)};
    for (const int bits : {4, 8}) {
      const Place marlin = marlin_code(bits, e.k, e.n, kHugeN);
      ASSERT_EQ(marlin_code_element(bits, marlin.word, marlin.shift, kHugeN), e);
      const Place zero = marlin_zero(bits, e.k, e.n, kHugeN);
      ASSERT_EQ(marlin_zero_element(bits, zero.word, zero.shift, kHugeN), e);
      const Place gptq = gptq_code(bits, e.k, e.n, kHugeN);
      ASSERT_EQ(gptq_code_element(bits, gptq.word, gptq.shift, kHugeN), e);
      const Place gptq_z = gptq_zero(bits, e.k, e.n, kHugeN);
      ASSERT_EQ(gptq_zero_element(bits, gptq_z.word, gptq_z.shift, kHugeN), e);
      const Place ct = ct_code(bits, e.k, e.n, kHugeK);
      ASSERT_EQ(ct_code_element(bits, ct.word, ct.shift, kHugeK), e);
      const Place ct_z = ct_zero(bits, e.k, e.n, kHugeK);
      ASSERT_EQ(ct_zero_element(bits, ct_z.word, ct_z.shift, kHugeK), e);
    }
    const Place awq = awq_code(e.k, e.n, kHugeN);
    ASSERT_EQ(awq_element(awq.word, awq.shift, kHugeN), e);
  }
}

TEST(Maps, LastElementLiesInTheLastWord) {
  for (const int bits : {4, 8}) {
    const Place last = marlin_code(bits, kHugeK - 1, kHugeN - 1, kHugeN);
    const std::int64_t words = kHugeK / 16 * marlin_row_words(bits, kHugeN);
    EXPECT_EQ(last.word, words - 1);
    EXPECT_EQ(last.shift, 32 - bits);
  }
}

TEST(Maps, InterleavesAreThePublishedTables) {
  const int eight[] = {0, 4, 1, 5, 2, 6, 3, 7};
  const int eight_back[] = {0, 2, 4, 6, 1, 3, 5, 7};
  const int four[] = {0, 2, 1, 3};
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(interleave8(i), eight[i]);
    EXPECT_EQ(deinterleave8(i), eight_back[i]);
    EXPECT_EQ(awq_code(0, i, 8).shift, 4 * eight[i]);
    EXPECT_EQ(interleave4(i % 4), four[i % 4]);
  }
}

// The scale orders as the list of columns that positions hold, built the way the original packers do: loops, not formulas.
TEST(Maps, ScaleOrdersAreThePublishedLists) {
  int position = 0;
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < 8; ++j) EXPECT_EQ(marlin_grouped_scale(i + 8 * j), position++);
  }
  position = 0;
  const int pairs[] = {0, 1, 8, 9, 16, 17, 24, 25};
  for (int i = 0; i < 4; ++i) {
    for (const int column : pairs) EXPECT_EQ(marlin_column_scale(2 * i + column), position++);
  }
}

// A tile's words as the original packer lists them: for every lane, four k rows of two columns, over four 16-column blocks.
TEST(Maps, WeightOrderIsThePublishedList) {
  const int interleave[] = {0, 2, 4, 6, 1, 3, 5, 7};
  for (int lane = 0; lane < 32; ++lane) {
    const int column = lane / 4;
    int flat[4][8];
    for (int block = 0; block < 4; ++block) {
      int slot = 0;
      for (const int half : {0, 1}) {
        for (const int row : {2 * (lane % 4), 2 * (lane % 4) + 1, 2 * (lane % 4 + 4), 2 * (lane % 4 + 4) + 1}) {
          flat[block][slot++] = row * 64 + 16 * block + column + 8 * half;
        }
      }
    }
    for (int block = 0; block < 4; ++block) {
      for (int field = 0; field < 8; ++field) {
        // Slots of a half are k = 2j, 2j+1, 2j+8, 2j+9: the packer stores slots 0, 2, 4, 6, 1, 3, 5, 7 from the lowest nibble up.
        const int element = flat[block][interleave[field]];
        const Place place = marlin_code(4, element / 64, element % 64, 64);
        EXPECT_EQ(place, (Place{lane * 4 + block, 4 * field})) << "lane " << lane << " block " << block << " field " << field;
      }
    }
  }
}

}  // namespace
}  // namespace billfish::layout
