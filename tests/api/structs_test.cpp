// SPDX-License-Identifier: Apache-2.0
// Versioned structs: an older caller's shorter struct, a newer caller's longer one, and results written only as far as they reach.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "api/sample.hpp"

namespace billfish::api_test {
namespace {

// A struct as a later version might have it.
template <class Struct>
struct Longer {
  Struct known;
  std::int64_t added[4];
};

template <class Struct>
Longer<Struct> lengthen(const Struct& known) {
  Longer<Struct> longer;
  std::memset(&longer, 0, sizeof longer);
  longer.known = known;
  longer.known.size = sizeof longer;
  return longer;
}

TEST(Structs, AShorterStructReadsAsZeroBeyondItsEnd) {
  const Sample sample({});
  PackedSample packed(sample);
  Product product(packed.weights, 2, BILLFISH_F32, BILLFISH_F32);
  ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
  const std::vector<float> expected = product.result();
  // As if `implementation` and all that follows were added later: garbage there must not be looked at.
  billfish_gemm_args args = product.args;
  args.size = offsetof(billfish_gemm_args, implementation);
  std::memset(reinterpret_cast<char*>(&args) + args.size, 0xab, sizeof args - args.size);
  product.c.reset(product.c.bytes());
  args.c = product.c.data();
  ASSERT_EQ(billfish_gemm(&packed.weights, &args, nullptr), BILLFISH_OK) << billfish_last_error();
  product.args.c = args.c;
  EXPECT_EQ(product.result(), expected);
  billfish_weights weights = packed.weights;
  weights.size = offsetof(billfish_weights, global_scale);
  std::memset(reinterpret_cast<char*>(&weights) + weights.size, 0xcd, sizeof weights - weights.size);
  EXPECT_EQ(billfish_gemm(&weights, &args, nullptr), BILLFISH_OK) << billfish_last_error();
}

TEST(Structs, ALongerStructIsReadWhileItsNewFieldsAreZero) {
  const Sample sample({});
  PackedSample packed(sample);
  Product product(packed.weights, 2, BILLFISH_F32, BILLFISH_F32);
  ASSERT_EQ(product.bring_workspace(), BILLFISH_OK) << billfish_last_error();
  auto weights = lengthen(packed.weights);
  auto args = lengthen(product.args);
  EXPECT_EQ(billfish_gemm(&weights.known, &args.known, nullptr), BILLFISH_OK) << billfish_last_error();
  args.added[1] = 1;
  EXPECT_EQ(billfish_gemm(&weights.known, &args.known, nullptr), BILLFISH_INVALID_ARGUMENT);
  const std::string message = billfish_last_error();
  EXPECT_NE(message.find("args has " + std::to_string(sizeof args) + " bytes"), std::string::npos) << message;
  EXPECT_NE(message.find("byte " + std::to_string(sizeof(billfish_gemm_args) + 8) + " is not 0"), std::string::npos) << message;
  EXPECT_NE(message.find(billfish_version_string()), std::string::npos) << message;
}

TEST(Structs, AShorterResultIsWrittenOnlyAsFarAsItReaches) {
  const Sample sample({});
  billfish_packed_sizes whole = BILLFISH_PACKED_SIZES_INIT;
  ASSERT_EQ(billfish_packed_sizes_of(&sample.matrix, &whole), BILLFISH_OK);
  billfish_packed_sizes part = BILLFISH_PACKED_SIZES_INIT;
  part.size = offsetof(billfish_packed_sizes, perm);
  part.perm = part.g_idx = part.bias = -77;
  ASSERT_EQ(billfish_packed_sizes_of(&sample.matrix, &part), BILLFISH_OK);
  EXPECT_EQ(part.size, offsetof(billfish_packed_sizes, perm)) << "the caller's size is the caller's";
  EXPECT_EQ(part.codes, whole.codes);
  EXPECT_EQ(part.scales, whole.scales);
  EXPECT_EQ(part.perm, -77);
  EXPECT_EQ(part.bias, -77);
}

TEST(Structs, ALongerResultGetsZerosWhereThisLibraryKnowsNothing) {
  auto info = lengthen(billfish_implementation_info BILLFISH_IMPLEMENTATION_INFO_INIT);
  info.added[0] = info.added[3] = 5;
  ASSERT_EQ(billfish_implementation(0, &info.known), BILLFISH_OK) << billfish_last_error();
  EXPECT_STREQ(info.known.name, "sm90");
  EXPECT_EQ(info.known.size, sizeof info);
  for (const std::int64_t added : info.added) EXPECT_EQ(added, 0);
}

// A caller compiled against this header relies on these: a change is a new major version.
TEST(Structs, SizesAndPlacesAreThoseOfTheFirstVersion) {
  static_assert(sizeof(void*) == 8, "the figures below are of 64-bit machines");
  EXPECT_EQ(sizeof(billfish_parallel), 40u);
  EXPECT_EQ(sizeof(billfish_matrix), 176u);
  EXPECT_EQ(sizeof(billfish_weights), 184u);
  EXPECT_EQ(sizeof(billfish_packed_sizes), 56u);
  EXPECT_EQ(sizeof(billfish_gemm_args), 144u);
  EXPECT_EQ(sizeof(billfish_implementation_info), 48u);
  EXPECT_EQ(sizeof(billfish_problem), 120u);
  EXPECT_EQ(sizeof(billfish_layer_info), 128u);
  EXPECT_EQ(sizeof(billfish_tensor_info), 64u);
  EXPECT_EQ(offsetof(billfish_weights, codes), 40u);
  EXPECT_EQ(offsetof(billfish_weights, device_kind), 96u);
  EXPECT_EQ(offsetof(billfish_gemm_args, workspace), 64u);
  EXPECT_EQ(offsetof(billfish_gemm_args, parallel), 88u);
}

}  // namespace
}  // namespace billfish::api_test
