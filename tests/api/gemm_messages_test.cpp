// SPDX-License-Identifier: Apache-2.0
// Every argument of billfish_gemm that can be wrong: the status, a message that names it and its value, and an output left alone.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "api/sample.hpp"

namespace billfish::api_test {
namespace {

template <class Enum>
void put(Enum& field, int value) {
  std::memcpy(&field, &value, sizeof value);
}

struct Case {
  const char* hazard;
  std::function<void(billfish_weights&, billfish_gemm_args&)> change;
  billfish_status status;
  std::vector<std::string> says;
};

const std::int64_t kHuge = std::int64_t{1} << 40;

std::vector<Case> cases() {
  using W = billfish_weights&;
  using A = billfish_gemm_args&;
  const auto invalid = BILLFISH_INVALID_ARGUMENT;
  return {
      {"size never set", [](W w, A) { w.size = 0; }, invalid, {"weights->size is 0", "_INIT"}},
      {"size of something else", [](W w, A) { w.size = 1 << 20; }, invalid, {"weights->size is 1048576"}},
      {"args size never set", [](W, A a) { a.size = 3; }, invalid, {"args->size is 3"}},
      {"reserved in use", [](W w, A) { w.reserved[4] = 7; }, invalid, {"weights->reserved[4] is 7", "must be 0"}},
      {"reserved in use", [](W, A a) { a.reserved[0] = -1; }, invalid, {"args->reserved[0] is -1"}},
      {"a type of the future", [](W w, A) { put(w.type, 9); }, invalid, {"weights->type is 9", "u4b8"}},
      {"a negative type", [](W w, A) { put(w.type, -1); }, invalid, {"weights->type is -1"}},
      {"an unknown scale type", [](W w, A) { put(w.scale_type, 3); }, invalid, {"weights->scale_type is 3", "bf16"}},
      {"an unknown bias type", [](W w, A) { put(w.bias_type, 3); }, invalid, {"weights->bias_type is 3"}},
      {"an unknown device", [](W w, A) { put(w.device_kind, 2); }, invalid, {"weights->device_kind is 2", "1 (cuda)"}},
      {"a second CPU", [](W w, A) { w.device_index = 1; }, invalid, {"weights->device_index is 1", "device 0"}},
      {"a negative device",
       [](W w, A) {
         put(w.device_kind, 1);
         w.device_index = -2;
       },
       invalid,
       {"weights->device_index is -2"}},
      {"unknown flags", [](W w, A) { w.flags = 64; }, invalid, {"weights->flags is 64"}},
      {"a K shard", [](W w, A) { w.flags = BILLFISH_WEIGHTS_K_SHARDED; }, invalid, {"weights->flags is 4", "reserved"}},
      {"a global scale", [](W w, A) { w.global_scale = &w; }, invalid, {"weights->global_scale"}},
      {"float zeros", [](W w, A) { w.float_zeros = &w; }, invalid, {"weights->float_zeros"}},
      {"a K offset", [](W w, A) { w.k_offset = 16; }, invalid, {"weights->k_offset is 16"}},
      {"experts", [](W w, A) { w.experts = 8; }, invalid, {"weights->experts is 8"}},
      {"negative n", [](W w, A) { w.n = -1; }, invalid, {"weights->n is -1"}},
      {"negative k", [](W w, A) { w.k = -16; }, invalid, {"weights->k is -16"}},
      {"group never set", [](W w, A) { w.group = 0; }, invalid, {"weights->group is 0", "-1"}},
      {"negative group", [](W w, A) { w.group = -128; }, invalid, {"weights->group is -128"}},
      {"more bytes than there are",
       [](W w, A) {
         w.n = kHuge;
         w.k = kHuge;
       },
       invalid,
       {"weights->n is 1099511627776", "64-bit"}},
      {"the largest n", [](W w, A) { w.n = std::numeric_limits<std::int64_t>::max(); }, invalid, {"weights->n is 9223372036854775807"}},
      {"codes missing", [](W w, A) { w.codes = nullptr; }, invalid, {"weights->codes is NULL"}},
      {"codes misaligned", [](W w, A) { w.codes = static_cast<char*>(w.codes) + 4; }, invalid, {"weights->codes", "16 bytes"}},
      {"scales missing", [](W w, A) { w.scales = nullptr; }, invalid, {"weights->scales is NULL"}},
      {"scales misaligned", [](W w, A) { w.scales = static_cast<char*>(w.scales) + 1; }, invalid, {"weights->scales", "2 bytes"}},
      {"zeros that the type has not", [](W w, A) { w.zeros = w.codes; }, invalid, {"weights->zeros is set", "u4b8"}},
      {"zeros missing", [](W w, A) { w.type = BILLFISH_U4; }, invalid, {"weights->zeros is NULL", "u4"}},
      {"bias misaligned",
       [](W w, A) {
         w.bias = static_cast<char*>(w.scales) + 1;
         w.bias_type = BILLFISH_F16;
       },
       invalid,
       {"weights->bias"}},
      {"perm misaligned",
       [](W w, A) { w.perm = reinterpret_cast<int32_t*>(static_cast<char*>(w.scales) + 2); },
       invalid,
       {"weights->perm"}},
      {"negative m", [](W, A a) { a.m = -1; }, invalid, {"args->m is -1"}},
      {"a missing", [](W, A a) { a.a = nullptr; }, invalid, {"args->a is NULL"}},
      {"c missing", [](W, A a) { a.c = nullptr; }, invalid, {"args->c is NULL"}},
      {"a misaligned", [](W, A a) { a.a = static_cast<const char*>(a.a) + 1; }, invalid, {"args->a is not aligned", "4 bytes"}},
      {"c misaligned", [](W, A a) { a.c = static_cast<char*>(a.c) + 2; }, invalid, {"args->c is not aligned", "4 bytes"}},
      {"rows of a overlap", [](W w, A a) { a.lda = w.k - 1; }, invalid, {"args->lda is 175", "k = 176"}},
      {"rows of c overlap", [](W w, A a) { a.ldc = w.n - 1; }, invalid, {"args->ldc is 79", "n = 80"}},
      {"lda never set", [](W, A a) { a.lda = 0; }, invalid, {"args->lda is 0"}},
      {"a larger than memory",
       [](W, A a) {
         a.m = kHuge;
         a.lda = kHuge;
       },
       invalid,
       {"args->m is 1099511627776", "args->lda", "64-bit"}},
      {"c larger than memory", [](W, A a) { a.ldc = std::numeric_limits<std::int64_t>::max() / 2; }, invalid, {"args->ldc", "64-bit"}},
      {"an unknown a type", [](W, A a) { put(a.a_type, 3); }, invalid, {"args->a_type is 3"}},
      {"an unknown c type", [](W, A a) { put(a.c_type, 77); }, invalid, {"args->c_type is 77"}},
      {"an unknown precision", [](W, A a) { put(a.precision, 3); }, invalid, {"args->precision is 3", "int8"}},
      {"unknown flags", [](W, A a) { a.flags = 1u << 31; }, invalid, {"args->flags is 2147483648"}},
      {"the output over the input", [](W, A a) { a.c = const_cast<void*>(a.a); }, invalid, {"args->c overlaps args->a"}},
      {"workspace missing",
       [](W, A a) {
         a.workspace = nullptr;
         a.workspace_bytes = 64;
       },
       invalid,
       {"args->workspace is NULL", "64"}},
      {"workspace misaligned",
       [](W w, A a) {
         a.workspace = static_cast<char*>(w.codes) + 4;
         a.workspace_bytes = 64;
       },
       invalid,
       {"args->workspace", "16 bytes"}},
      {"workspace over the output",
       [](W, A a) {
         a.workspace = a.c;
         a.workspace_bytes = 64;
       },
       invalid,
       {"args->workspace overlaps args->c"}},
      {"workspace beyond memory",
       [](W w, A a) {
         a.workspace = w.codes;
         a.workspace_bytes = std::numeric_limits<std::size_t>::max();
       },
       invalid,
       {"args->workspace_bytes is 18446744073709551615"}},
      {"no such implementation", [](W, A a) { a.implementation = "cpu_avx3"; }, invalid, {"\"cpu_avx3\"", "cpu_avx2", "reference"}},
      {"an implementation for elsewhere", [](W, A a) { a.implementation = "sm80"; }, BILLFISH_UNSUPPORTED, {"sm80", "cuda", "cpu"}},
  };
}

TEST(GemmMessages, EveryWrongArgumentIsNamedWithItsValue) {
  const Sample sample({});
  const PackedSample packed(sample);
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.hazard);
    Product product(packed.weights, 3, BILLFISH_F32, BILLFISH_F32);
    ASSERT_EQ(product.bring_workspace(), BILLFISH_OK) << billfish_last_error();
    billfish_weights weights = packed.weights;
    billfish_gemm_args args = product.args;
    ASSERT_EQ(billfish_gemm(&weights, &args, nullptr), BILLFISH_OK) << "the unchanged call: " << billfish_last_error();
    product.c.reset(product.c.bytes());
    args.c = product.c.data();
    c.change(weights, args);
    EXPECT_EQ(billfish_gemm(&weights, &args, nullptr), c.status);
    for (const std::string& words : c.says) {
      EXPECT_NE(std::string(billfish_last_error()).find(words), std::string::npos)
          << "\"" << billfish_last_error() << "\" does not say \"" << words << "\"";
    }
    EXPECT_TRUE(product.c.untouched()) << "a refused call wrote to its output";
  }
}

TEST(GemmMessages, NullStructsAreRefused) {
  const billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  const billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  EXPECT_EQ(billfish_gemm(nullptr, &args, nullptr), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "weights is NULL");
  Sample sample({});
  PackedSample packed(sample);
  EXPECT_EQ(billfish_gemm(&packed.weights, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "args is NULL");
  EXPECT_EQ(billfish_gemm_workspace(&weights, &args, nullptr), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "bytes is NULL");
}

TEST(GemmMessages, TheParallelStructIsChecked) {
  Sample sample({});
  PackedSample packed(sample);
  Product product(packed.weights, 1, BILLFISH_F32, BILLFISH_F32);
  billfish_parallel parallel = BILLFISH_PARALLEL_INIT;
  product.args.parallel = &parallel;
  parallel.reserved = 3;
  EXPECT_EQ(billfish_gemm(&packed.weights, &product.args, nullptr), BILLFISH_INVALID_ARGUMENT);
  EXPECT_NE(std::string(billfish_last_error()).find("parallel->reserved is 3"), std::string::npos);
  parallel.reserved = 0;
  parallel.threads = -4;
  EXPECT_EQ(billfish_gemm(&packed.weights, &product.args, nullptr), BILLFISH_INVALID_ARGUMENT);
  EXPECT_NE(std::string(billfish_last_error()).find("parallel->threads is -4"), std::string::npos);
  parallel.threads = 0;
  parallel.size = 0;
  EXPECT_EQ(billfish_gemm(&packed.weights, &product.args, nullptr), BILLFISH_INVALID_ARGUMENT);
  EXPECT_NE(std::string(billfish_last_error()).find("parallel->size is 0"), std::string::npos);
}

TEST(GemmMessages, WeightsOnADeviceThatIsNotHereAreADeviceError) {
  Sample sample({});
  PackedSample packed(sample);
  Product product(packed.weights, 1, BILLFISH_F16, BILLFISH_F16);
  billfish_weights weights = packed.weights;
  weights.device_kind = BILLFISH_CUDA;
  weights.device_index = billfish_tools_cuda_devices();  // one behind the last
  EXPECT_EQ(billfish_gemm(&weights, &product.args, nullptr), BILLFISH_DEVICE_ERROR);
  EXPECT_NE(std::string(billfish_last_error()).size(), 0u);
  EXPECT_TRUE(product.c.untouched());
  EXPECT_EQ(billfish_prepare(BILLFISH_CUDA, weights.device_index), BILLFISH_DEVICE_ERROR);
}

}  // namespace
}  // namespace billfish::api_test
