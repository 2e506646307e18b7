// SPDX-License-Identifier: Apache-2.0
// The refusals of every entry point but billfish_gemm: status, and a message that names the argument and its value.
#include <gtest/gtest.h>

#include <string>

#include "api/sample.hpp"

namespace billfish::api_test {
namespace {

template <class Enum>
void put(Enum& field, int value) {
  std::memcpy(&field, &value, sizeof value);
}
// What a C program may pass and C++ calls undefined: the library must not trip over it, and the sanitizer need not see the test do it.
// (Not as [[gnu::...]]: clang knows that spelling under another name.)
template <class Enum>
__attribute__((no_sanitize("undefined"))) Enum from_int(int value) {
  Enum out{};
  put(out, value);
  return out;
}

void expect_said(billfish_status got, billfish_status wanted, const char* words) {
  EXPECT_EQ(got, wanted) << billfish_last_error();
  EXPECT_NE(std::string(billfish_last_error()).find(words), std::string::npos)
      << "\"" << billfish_last_error() << "\" does not say \"" << words << "\"";
}

TEST(OtherMessages, PackedSizes) {
  const Sample sample({});
  billfish_packed_sizes sizes = BILLFISH_PACKED_SIZES_INIT;
  expect_said(billfish_packed_sizes_of(nullptr, &sizes), BILLFISH_INVALID_ARGUMENT, "matrix is NULL");
  expect_said(billfish_packed_sizes_of(&sample.matrix, nullptr), BILLFISH_INVALID_ARGUMENT, "out is NULL");
  sizes.size = 0;
  expect_said(billfish_packed_sizes_of(&sample.matrix, &sizes), BILLFISH_INVALID_ARGUMENT, "out->size is 0");
  sizes.size = sizeof sizes;
  billfish_matrix matrix = sample.matrix;
  put(matrix.format, 6);
  expect_said(billfish_packed_sizes_of(&matrix, &sizes), BILLFISH_INVALID_ARGUMENT, "matrix->format is 6");
  matrix = sample.matrix;
  matrix.perm = reinterpret_cast<const int32_t*>(sample.codes.data());
  expect_said(billfish_packed_sizes_of(&matrix, &sizes), BILLFISH_INVALID_ARGUMENT, "matrix->perm is set");
  matrix = sample.matrix;
  matrix.codes_bytes = 80 * 176 - 1;
  expect_said(billfish_packed_sizes_of(&matrix, &sizes), BILLFISH_INVALID_ARGUMENT, "matrix->codes_bytes is 14079");
  expect_said(billfish_packed_sizes_of(&matrix, &sizes), BILLFISH_INVALID_ARGUMENT, "take 14080");
  matrix = sample.matrix;
  matrix.scales_bytes = -5;
  expect_said(billfish_packed_sizes_of(&matrix, &sizes), BILLFISH_INVALID_ARGUMENT, "matrix->scales_bytes is -5");
  matrix = sample.matrix;
  matrix.n = matrix.k = std::int64_t{1} << 45;
  expect_said(billfish_packed_sizes_of(&matrix, &sizes), BILLFISH_INVALID_ARGUMENT, "matrix->n is 35184372088832");
}

TEST(OtherMessages, Pack) {
  const Sample sample({BILLFISH_U4, 80, 176, 32, BILLFISH_F16, true});
  PackedSample packed(sample);
  billfish_weights out = packed.weights;
  expect_said(billfish_pack(&sample.matrix, nullptr, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT, "out is NULL");
  out.codes = nullptr;
  expect_said(billfish_pack(&sample.matrix, &out, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT,
              "out->codes is NULL; this matrix needs 11264");
  out = packed.weights;
  out.zeros = nullptr;
  expect_said(billfish_pack(&sample.matrix, &out, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT, "out->zeros is NULL");
  out = packed.weights;
  out.bias = nullptr;
  expect_said(billfish_pack(&sample.matrix, &out, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT, "out->bias is NULL");
  out = packed.weights;
  out.codes = static_cast<char*>(out.codes) + 8;
  expect_said(billfish_pack(&sample.matrix, &out, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT, "out->codes must be aligned to 16");
  out = packed.weights;
  put(out.device_kind, BILLFISH_CUDA);
  expect_said(billfish_pack(&sample.matrix, &out, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT, "out->device_kind is 1");
  out = packed.weights;
  out.reserved[2] = 1;
  expect_said(billfish_pack(&sample.matrix, &out, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT, "out->reserved[2] is 1");
  billfish_matrix matrix = sample.matrix;
  matrix.zeros = nullptr;
  out = packed.weights;
  expect_said(billfish_pack(&matrix, &out, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT, "matrix->zeros is NULL; the type u4");
  matrix = sample.matrix;
  matrix.scales = nullptr;
  expect_said(billfish_pack(&matrix, &out, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT, "matrix->scales is NULL");
  matrix = sample.matrix;
  matrix.reserved[1] = 2;
  expect_said(billfish_pack(&matrix, &out, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT, "matrix->reserved[1] is 2");
}

// Data that is wrong is bad input, not a wrong call.
TEST(OtherMessages, PackRefusesBadData) {
  Sample sample({BILLFISH_U4B8, 80, 176, 32, BILLFISH_F16, false, true});
  PackedSample packed(sample);
  const std::int32_t kept = sample.g_idx[9];
  sample.g_idx[9] = 99;
  billfish_packed_sizes sizes = BILLFISH_PACKED_SIZES_INIT;
  EXPECT_EQ(billfish_packed_sizes_of(&sample.matrix, &sizes), BILLFISH_BAD_INPUT);
  expect_said(billfish_pack(&sample.matrix, &packed.weights, nullptr, nullptr), BILLFISH_BAD_INPUT, "99");
  sample.g_idx[9] = kept;
  const std::uint16_t infinity = 0x7c00;
  std::memcpy(sample.scales.data() + 2 * (80 + 7), &infinity, 2);
  EXPECT_EQ(billfish_pack(&sample.matrix, &packed.weights, nullptr, nullptr), BILLFISH_BAD_INPUT);
  EXPECT_NE(std::string(billfish_last_error()).find("scale"), std::string::npos) << billfish_last_error();
}

TEST(OtherMessages, UnpackAndDequantize) {
  const Sample sample({});
  PackedSample packed(sample);
  std::vector<std::uint8_t> codes(80 * 176), scales(80 * 6 * 2);
  billfish_matrix out = BILLFISH_MATRIX_INIT;
  out.format = BILLFISH_FORMAT_RAW;
  out.codes = codes.data();
  out.scales = scales.data();
  EXPECT_EQ(billfish_unpack(&packed.weights, &out, nullptr), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(codes, sample.codes);
  EXPECT_EQ(scales, sample.scales);
  out.n = 81;
  expect_said(billfish_unpack(&packed.weights, &out, nullptr), BILLFISH_INVALID_ARGUMENT, "out->n is 81; the weights have n = 80");
  out.n = 0;
  out.scales_bytes = 3;
  expect_said(billfish_unpack(&packed.weights, &out, nullptr), BILLFISH_INVALID_ARGUMENT, "out->scales_bytes is 3");
  out.scales_bytes = 0;
  out.codes = nullptr;
  expect_said(billfish_unpack(&packed.weights, &out, nullptr), BILLFISH_INVALID_ARGUMENT, "out->codes is NULL");
  expect_said(billfish_unpack(nullptr, &out, nullptr), BILLFISH_INVALID_ARGUMENT, "weights is NULL");
  std::vector<float> dense(80 * 176);
  expect_said(billfish_dequantize(&packed.weights, nullptr, 80, nullptr), BILLFISH_INVALID_ARGUMENT, "out is NULL");
  expect_said(billfish_dequantize(&packed.weights, dense.data(), 79, nullptr), BILLFISH_INVALID_ARGUMENT, "ld is 79");
  billfish_weights elsewhere = packed.weights;
  elsewhere.device_kind = BILLFISH_CUDA;
  expect_said(billfish_dequantize(&elsewhere, dense.data(), 80, nullptr), BILLFISH_UNSUPPORTED, "weights->device_kind is 1");
  expect_said(billfish_weights_of_matrix(&sample.matrix, &elsewhere), BILLFISH_INVALID_ARGUMENT, "matrix->format is 4");
}

TEST(OtherMessages, Repack) {
  std::vector<std::int32_t> source(16 * 64 / 8), target(16 * 64 / 8);
  std::vector<std::uint16_t> scales(64), permuted(64);
  expect_said(billfish_repack_gptq_to_marlin(source.data(), target.data(), 24, 64, 4), BILLFISH_INVALID_ARGUMENT, "k is 24");
  expect_said(billfish_repack_gptq_to_marlin(source.data(), target.data(), 16, 48, 4), BILLFISH_INVALID_ARGUMENT, "n is 48");
  expect_said(billfish_repack_gptq_to_marlin(source.data(), target.data(), 16, -64, 4), BILLFISH_INVALID_ARGUMENT, "n is -64");
  expect_said(billfish_repack_gptq_to_marlin(source.data(), target.data(), 16, 64, 3), BILLFISH_INVALID_ARGUMENT, "bits is 3");
  expect_said(billfish_repack_gptq_to_marlin(nullptr, target.data(), 16, 64, 4), BILLFISH_INVALID_ARGUMENT, "source is NULL");
  expect_said(billfish_repack_gptq_to_marlin(source.data(), nullptr, 16, 64, 4), BILLFISH_INVALID_ARGUMENT, "target is NULL");
  expect_said(billfish_repack_gptq_to_marlin(source.data(), source.data(), 16, 64, 4), BILLFISH_INVALID_ARGUMENT, "target is source");
  expect_said(billfish_repack_gptq_to_marlin(source.data(), target.data(), 1ll << 40, 1ll << 40, 4), BILLFISH_INVALID_ARGUMENT, "64-bit");
  expect_said(billfish_repack_scales_to_marlin(scales.data(), permuted.data(), 16, 64, 0), BILLFISH_INVALID_ARGUMENT, "group is 0");
  expect_said(billfish_repack_scales_to_marlin(scales.data(), permuted.data(), 16, 32, -1), BILLFISH_INVALID_ARGUMENT, "n is 32");
  EXPECT_EQ(billfish_repack_gptq_to_marlin(nullptr, nullptr, 0, 64, 4), BILLFISH_OK);
}

TEST(OtherMessages, PoolsAndPreparation) {
  billfish_pool* pool = nullptr;
  expect_said(billfish_pool_create(2, nullptr), BILLFISH_INVALID_ARGUMENT, "out is NULL");
  expect_said(billfish_pool_create(-1, &pool), BILLFISH_INVALID_ARGUMENT, "threads is -1");
  expect_said(billfish_pool_create(1 << 20, &pool), BILLFISH_INVALID_ARGUMENT, "threads is 1048576");
  EXPECT_EQ(pool, nullptr);
  billfish_pool_destroy(nullptr);
  EXPECT_EQ(billfish_pool_threads(nullptr), 1);
  expect_said(billfish_prepare(from_int<billfish_device_kind>(5), 0), BILLFISH_INVALID_ARGUMENT, "kind is 5");
  expect_said(billfish_prepare(BILLFISH_CPU, 1), BILLFISH_INVALID_ARGUMENT, "device_index is 1");
  EXPECT_EQ(billfish_prepare(BILLFISH_CPU, 0), BILLFISH_OK);
}

TEST(OtherMessages, ImplementationsAndExplain) {
  billfish_implementation_info info = BILLFISH_IMPLEMENTATION_INFO_INIT;
  expect_said(billfish_implementation(-1, &info), BILLFISH_INVALID_ARGUMENT, "index is -1");
  expect_said(billfish_implementation(billfish_implementation_count(), &info), BILLFISH_INVALID_ARGUMENT, "there are 7");
  expect_said(billfish_implementation(0, nullptr), BILLFISH_INVALID_ARGUMENT, "out is NULL");
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = 1;
  problem.n = problem.k = 4096;
  problem.group = 128;
  char text[64];
  expect_said(billfish_explain(nullptr, "cpu", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT, "problem is NULL");
  expect_said(billfish_explain(&problem, "tpu", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT, "device is \"tpu\"");
  expect_said(billfish_explain(&problem, "sm_", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT, "device is \"sm_\"");
  expect_said(billfish_explain(&problem, "sm_9x", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT,
              "device is \"sm_9x\"");
  expect_said(billfish_explain(&problem, "cpu", "sm42", 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT, "\"sm42\"");
  expect_said(billfish_explain(&problem, "cpu", nullptr, 0, nullptr, 64, nullptr), BILLFISH_INVALID_ARGUMENT, "buffer is NULL");
  billfish_problem wrong = problem;
  wrong.group = 0;
  expect_said(billfish_explain(&wrong, "cpu", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT, "problem->group is 0");
  wrong = problem;
  wrong.m = -3;
  expect_said(billfish_explain(&wrong, "cpu", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT, "problem->m is -3");
  wrong = problem;
  wrong.n = 1ll << 41;
  expect_said(billfish_explain(&wrong, "cpu", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT, "2199023255552");
  wrong = problem;
  wrong.flags = 32;
  expect_said(billfish_explain(&wrong, "cpu", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT, "problem->flags is 32");
  wrong = problem;
  wrong.workspace_bytes = -2;
  expect_said(billfish_explain(&wrong, "cpu", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT,
              "problem->workspace_bytes is -2");
  wrong = problem;
  put(wrong.type, 4);
  expect_said(billfish_explain(&wrong, "cpu", nullptr, 0, text, sizeof text, nullptr), BILLFISH_INVALID_ARGUMENT, "problem->type is 4");
}

TEST(OtherMessages, Tools) {
  const Sample sample({});
  PackedSample packed(sample);
  Product product(packed.weights, 2, BILLFISH_F32, BILLFISH_F32);
  std::vector<double> y(2 * 80);
  expect_said(billfish_tools_oracle(&packed.weights, &product.args, -1, 4, BILLFISH_CPU, y.data(), nullptr), BILLFISH_INVALID_ARGUMENT,
              "n0 is -1");
  expect_said(billfish_tools_oracle(&packed.weights, &product.args, 0, 81, BILLFISH_CPU, y.data(), nullptr), BILLFISH_INVALID_ARGUMENT,
              "n1 is 81");
  expect_said(billfish_tools_oracle(&packed.weights, &product.args, 0, 8, BILLFISH_CPU, nullptr, nullptr), BILLFISH_INVALID_ARGUMENT,
              "y is NULL");
  expect_said(billfish_tools_oracle(&packed.weights, &product.args, 0, 8, from_int<billfish_device_kind>(7), y.data(), nullptr),
              BILLFISH_INVALID_ARGUMENT, "bound_device is 7");
  expect_said(billfish_tools_bound(&packed.weights, &product.args, BILLFISH_CPU, y.data(), y.data(), -1, y.data()),
              BILLFISH_INVALID_ARGUMENT, "count is -1");
  std::vector<float> weights = random_floats(64, -1, 1, 1);
  std::vector<std::uint8_t> codes(64), scales(64);
  weights[5] = std::numeric_limits<float>::quiet_NaN();
  expect_said(billfish_tools_quantize(weights.data(), 16, 4, 8, BILLFISH_U4B8, BILLFISH_F16, codes.data(), nullptr, scales.data()),
              BILLFISH_BAD_INPUT, "column 1 in rows 0 to 7");
  weights[5] = 3e38f;
  expect_said(billfish_tools_quantize(weights.data(), 16, 4, 8, BILLFISH_U4B8, BILLFISH_F16, codes.data(), nullptr, scales.data()),
              BILLFISH_BAD_INPUT, "too large for f16");
  expect_said(billfish_tools_quantize(weights.data(), 16, 4, 8, BILLFISH_U4, BILLFISH_F16, codes.data(), nullptr, scales.data()),
              BILLFISH_INVALID_ARGUMENT, "zeros is NULL");
  expect_said(billfish_tools_quantize(weights.data(), 16, 4, 0, BILLFISH_U4B8, BILLFISH_F16, codes.data(), nullptr, scales.data()),
              BILLFISH_INVALID_ARGUMENT, "group is 0");
  int64_t differing = 0;
  expect_said(billfish_tools_compare(&sample.matrix, nullptr, &differing, nullptr, nullptr, nullptr, 0), BILLFISH_INVALID_ARGUMENT,
              "right is NULL");
  const Sample other({BILLFISH_U4B8, 64, 176, 32});
  expect_said(billfish_tools_compare(&sample.matrix, &other.matrix, &differing, nullptr, nullptr, nullptr, 0), BILLFISH_INVALID_ARGUMENT,
              "left is [176, 80] and right is [176, 64]");
  EXPECT_EQ(billfish_tools_match("a(b", "ab"), -1);
  EXPECT_NE(std::string(billfish_last_error()), "");
  EXPECT_EQ(billfish_tools_match(nullptr, "ab"), -1);
  EXPECT_EQ(billfish_tools_match("^model\\.layers\\.[0-9]+\\.mlp", "model.layers.12.mlp.up_proj"), 1);
  EXPECT_EQ(billfish_tools_match("attn", "model.layers.12.mlp.up_proj"), 0);
  EXPECT_LT(billfish_tools_read_seconds(nullptr, 64, nullptr), 0);
  EXPECT_LT(billfish_tools_dot_rate(BILLFISH_PRECISION_BF16, -1, nullptr), 0);
  EXPECT_LT(billfish_tools_dot_rate(static_cast<billfish_precision>(3), 1e6, nullptr), 0);
  billfish_dense* dense = nullptr;
  expect_said(billfish_tools_dense_create(weights.data(), 0, 4, BILLFISH_PRECISION_FULL, &dense), BILLFISH_INVALID_ARGUMENT, "k is 0");
  expect_said(billfish_tools_dense_create(weights.data(), 16, 4, BILLFISH_PRECISION_INT8, &dense), BILLFISH_INVALID_ARGUMENT,
              "precision is 2");
  void* memory = nullptr;
  EXPECT_EQ(billfish_tools_cuda_allocate(billfish_tools_cuda_devices(), 64, &memory), BILLFISH_DEVICE_ERROR);
  expect_said(billfish_tools_cuda_copy(0, codes.data(), scales.data(), 4, 3), BILLFISH_INVALID_ARGUMENT, "kind is 3");
}

TEST(OtherMessages, StatusNamesCoverEveryStatusAndAnyInteger) {
  for (int status = 0; status <= BILLFISH_INTERNAL; ++status) {
    EXPECT_STRNE(billfish_status_name(from_int<billfish_status>(status)), "unknown status");
  }
  EXPECT_STREQ(billfish_status_name(BILLFISH_OK), "ok");
  EXPECT_STREQ(billfish_status_name(from_int<billfish_status>(10)), "unknown status");
  EXPECT_STREQ(billfish_status_name(from_int<billfish_status>(-1)), "unknown status");
}

}  // namespace
}  // namespace billfish::api_test
