// SPDX-License-Identifier: Apache-2.0
// Hazards at the C ABI of quantising: arguments that are wrong and must be named, bytes written where none belong, results that a newer or
// older struct cannot hold.
#include <algorithm>
#include <functional>
#include <string>

#include "billfish/billfish_quantize.h"
#include "quantize/sample.hpp"

namespace billfish::quantize {
namespace {

using namespace test;

struct Call {
  std::int64_t n = 20, k = 48, ldw = 0;
  std::vector<float> weights = normal(20 * 50, 1.0f, 1), x = correlated_samples(100, 48, 2), h = autoregressive(48, 0.5);
  std::vector<std::uint8_t> codes = std::vector<std::uint8_t>(20 * 48), zeros = std::vector<std::uint8_t>(20 * 3);
  std::vector<std::uint16_t> scales = std::vector<std::uint16_t>(20 * 3);
  billfish_quantize_options options = BILLFISH_QUANTIZE_OPTIONS_INIT;
  billfish_samples samples = BILLFISH_SAMPLES_INIT;
  billfish_quantized out = BILLFISH_QUANTIZED_INIT;
  const float* source = weights.data();
  const billfish_samples* given = &samples;
  const billfish_quantize_options* chosen = &options;
  billfish_quantized* target = &out;

  Call() {
    options.group = 16;
    options.method = BILLFISH_QUANTIZE_GPTQ;
    samples.x = x.data();
    samples.tokens = 100;
    out.codes = codes.data();
    out.scales = scales.data();
  }
  billfish_status run() { return billfish_quantize_matrix(chosen, source, n, k, ldw, given, target); }
};

TEST(Abi, every_wrong_argument_is_named) {
  struct Case {
    std::function<void(Call&)> spoil;
    billfish_status status;
    std::string message;
  };
  const auto enum_of = [](auto& field, int value) { std::memcpy(&field, &value, sizeof value); };
  const std::vector<Case> cases = {
      {[](Call& c) { c.chosen = nullptr; }, BILLFISH_INVALID_ARGUMENT, "options is NULL"},
      {[](Call& c) { c.options.size = 0; }, BILLFISH_INVALID_ARGUMENT, "options->size is 0"},
      {[](Call& c) { c.options.reserved[2] = 1; }, BILLFISH_INVALID_ARGUMENT, "options->reserved[2] is 1"},
      {[](Call& c) { c.options.reserved_int = 3; }, BILLFISH_INVALID_ARGUMENT, "options->reserved_int is 3"},
      {[&](Call& c) { enum_of(c.options.method, 9); }, BILLFISH_INVALID_ARGUMENT, "options->method is 9; known are 0 (rtn)"},
      {[&](Call& c) { enum_of(c.options.type, 4); }, BILLFISH_INVALID_ARGUMENT, "options->type is 4"},
      {[&](Call& c) { enum_of(c.options.scale_type, -1); }, BILLFISH_INVALID_ARGUMENT, "options->scale_type is -1"},
      {[&](Call& c) { enum_of(c.options.act_order, 3); }, BILLFISH_INVALID_ARGUMENT, "options->act_order is 3"},
      {[](Call& c) { c.options.group = 0; }, BILLFISH_INVALID_ARGUMENT, "options->group is 0"},
      {[](Call& c) { c.options.group = -2; }, BILLFISH_INVALID_ARGUMENT, "options->group is -2"},
      {[](Call& c) { c.options.clip = 2; }, BILLFISH_INVALID_ARGUMENT, "options->clip is 2"},
      {[](Call& c) { c.options.damping = -0.5; }, BILLFISH_INVALID_ARGUMENT, "options->damping is -0.5"},
      {[](Call& c) { c.options.damping = NAN; }, BILLFISH_INVALID_ARGUMENT, "options->damping is nan"},
      {[](Call& c) { c.source = nullptr; }, BILLFISH_INVALID_ARGUMENT, "weights is NULL"},
      {[](Call& c) { c.source = reinterpret_cast<const float*>(reinterpret_cast<const char*>(c.source) + 2); }, BILLFISH_INVALID_ARGUMENT,
       "weights is not aligned"},
      {[](Call& c) { c.n = -1; }, BILLFISH_INVALID_ARGUMENT, "n is -1"},
      {[](Call& c) { c.k = -7; }, BILLFISH_INVALID_ARGUMENT, "k is -7"},
      {[](Call& c) { c.n = c.k = std::int64_t{1} << 31; }, BILLFISH_INVALID_ARGUMENT, "more bytes than a 64-bit size can count"},
      {[](Call& c) { c.ldw = 47; }, BILLFISH_INVALID_ARGUMENT, "ldw is 47; it must be 0 or at least k = 48"},
      {[](Call& c) { c.given = nullptr; }, BILLFISH_INVALID_ARGUMENT, "samples has neither x nor hessian; GPTQ needs one"},
      {[](Call& c) { c.samples.x = nullptr; }, BILLFISH_INVALID_ARGUMENT, "samples has neither x nor hessian"},
      {[](Call& c) { c.samples.tokens = 0; }, BILLFISH_INVALID_ARGUMENT, "samples->tokens is 0"},
      {[](Call& c) { c.samples.tokens = -4; }, BILLFISH_INVALID_ARGUMENT, "samples->tokens is -4"},
      {[](Call& c) { c.samples.ldx = 10; }, BILLFISH_INVALID_ARGUMENT, "samples->ldx is 10"},
      {[](Call& c) { c.samples.reserved[0] = 5; }, BILLFISH_INVALID_ARGUMENT, "samples->reserved[0] is 5"},
      {[&](Call& c) { enum_of(c.samples.x_type, 3); }, BILLFISH_INVALID_ARGUMENT, "samples->x_type is 3"},
      {[](Call& c) { c.samples.hessian = c.h.data(), c.samples.count = -1; }, BILLFISH_INVALID_ARGUMENT, "samples->count is -1"},
      {[](Call& c) { c.target = nullptr; }, BILLFISH_INVALID_ARGUMENT, "out is NULL"},
      {[](Call& c) { c.out.codes = nullptr; }, BILLFISH_INVALID_ARGUMENT, "out->codes is NULL"},
      {[](Call& c) { c.out.scales = nullptr; }, BILLFISH_INVALID_ARGUMENT, "out->scales is NULL"},
      {[](Call& c) { c.options.type = BILLFISH_U4; }, BILLFISH_INVALID_ARGUMENT, "out->zeros is NULL; the type u4 has stored zeros"},
      {[](Call& c) { c.out.zeros = c.zeros.data(); }, BILLFISH_INVALID_ARGUMENT, "out->zeros is set; the type u4b8 has none"},
      {[](Call& c) { c.weights[3 * 48 + 7] = NAN; }, BILLFISH_BAD_INPUT, "the weight of output 3, input 7 is not finite"},
      {[](Call& c) { c.weights[19 * 48 + 47] = -INFINITY; }, BILLFISH_BAD_INPUT, "the weight of output 19, input 47 is not finite"},
      {[](Call& c) { c.x[99 * 48 + 1] = INFINITY; }, BILLFISH_BAD_INPUT, "sample 99, input 1 is not finite"},
      {[](Call& c) { c.samples.hessian = c.h.data(), c.h[48 * 5 + 9] = NAN; }, BILLFISH_BAD_INPUT, "hessian[5, 9] is not finite"},
      {[](Call& c) { c.samples.hessian = c.h.data(), c.h[48 * 6 + 6] = -1; }, BILLFISH_BAD_INPUT, "hessian[6, 6] is negative"},
  };
  for (const Case& wrong : cases) {
    Call call;
    wrong.spoil(call);
    EXPECT_EQ(call.run(), wrong.status) << wrong.message;
    EXPECT_NE(std::string(billfish_last_error()).find(wrong.message), std::string::npos)
        << billfish_last_error() << " lacks: " << wrong.message;
    EXPECT_EQ(call.out.weight_error, -1.0);
  }
}

TEST(Abi, strides_and_older_structs_are_honoured) {
  Call plain;
  ASSERT_EQ(plain.run(), BILLFISH_OK) << billfish_last_error();
  EXPECT_GT(plain.out.output_error, 0.0);
  EXPECT_LT(plain.out.output_error, plain.out.nearest_output_error);
  EXPECT_EQ(plain.out.damping, 0.01);

  Call strided;
  std::vector<float> wide(20 * 50, NAN);
  for (std::size_t r = 0; r < 20; ++r)
    std::copy_n(strided.weights.begin() + static_cast<std::ptrdiff_t>(r) * 48, 48, wide.begin() + static_cast<std::ptrdiff_t>(r) * 50);
  strided.source = wide.data();
  strided.ldw = 50;
  ASSERT_EQ(strided.run(), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(plain.codes, strided.codes);
  EXPECT_EQ(plain.scales, strided.scales);

  Call older;  // a struct that ends behind `scales`
  older.out.size = offsetof(billfish_quantized, weight_error);
  older.out.weight_error = 123.0;
  ASSERT_EQ(older.run(), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(older.out.weight_error, 123.0);
  EXPECT_EQ(plain.codes, older.codes);

  Call empty;
  empty.n = 0;
  empty.out.codes = nullptr;
  empty.out.scales = nullptr;
  EXPECT_EQ(empty.run(), BILLFISH_OK) << billfish_last_error();
}

TEST(Abi, a_callers_own_parallel_for_gives_the_same_bytes) {
  Call alone, own;
  billfish_parallel parallel = BILLFISH_PARALLEL_INIT;
  parallel.threads = 3;
  parallel.parallel_for = [](void*, std::int64_t count, void (*task)(void*, std::int64_t), void* context) {
    for (std::int64_t i = count; i-- > 0;) task(context, i);  // backwards: any order will do
  };
  own.options.parallel = &parallel;
  ASSERT_EQ(alone.run(), BILLFISH_OK);
  ASSERT_EQ(own.run(), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(alone.codes, own.codes);
  EXPECT_EQ(alone.scales, own.scales);
  EXPECT_EQ(alone.out.output_error, own.out.output_error);
}

TEST(Abi, hessian_add_names_what_is_wrong_and_counts) {
  std::vector<float> x = normal(10 * 8, 1.0f, 3), h(64, NAN);
  std::int64_t count = 0;
  const auto add = [&](const float* from, std::int64_t tokens, std::int64_t k, std::int64_t ldx, float* to, std::int64_t* counter) {
    return billfish_hessian_add(from, BILLFISH_F32, tokens, k, ldx, to, counter, nullptr);
  };
  EXPECT_EQ(add(x.data(), 10, 8, 0, h.data(), nullptr), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "count is NULL");
  EXPECT_EQ(add(nullptr, 10, 8, 0, h.data(), &count), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "x is NULL");
  EXPECT_EQ(add(x.data(), 10, 8, 0, nullptr, &count), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "hessian is NULL");
  EXPECT_EQ(add(x.data(), 10, 8, 5, h.data(), &count), BILLFISH_INVALID_ARGUMENT);
  EXPECT_EQ(add(x.data(), -10, 8, 0, h.data(), &count), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "tokens is -10; it must be 0 or more");
  EXPECT_EQ(add(x.data(), 0, 8, 0, h.data(), &count), BILLFISH_OK);
  EXPECT_EQ(count, 0);
  EXPECT_TRUE(std::isnan(h[0]));
  EXPECT_EQ(add(x.data(), 10, 8, 0, h.data(), &count), BILLFISH_OK) << billfish_last_error();
  EXPECT_EQ(count, 10);
  EXPECT_GT(h[0], 0.0f);
  count = -5;
  EXPECT_EQ(add(x.data(), 10, 8, 0, h.data(), &count), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "*count is -5; it must be 0, or what the call before made of it");
}

TEST(Abi, a_device_that_is_not_there_is_told_of_before_anything_is_done) {
  EXPECT_EQ(billfish_quantize_device(BILLFISH_CPU, 0), BILLFISH_OK);
  EXPECT_EQ(billfish_quantize_device(BILLFISH_CPU, 1), BILLFISH_INVALID_ARGUMENT);
  EXPECT_STREQ(billfish_last_error(), "device_index is 1; the CPU is device 0");
  EXPECT_EQ(billfish_quantize_device(static_cast<billfish_device_kind>(7), 0), BILLFISH_INVALID_ARGUMENT);
  EXPECT_EQ(billfish_quantize_device(BILLFISH_CUDA, 63), BILLFISH_DEVICE_ERROR);
  const std::string why = billfish_last_error();
  EXPECT_FALSE(why.empty());
  std::vector<float> x = normal(10 * 8, 1.0f, 3), h(64, NAN);
  std::int64_t count = 0;
  EXPECT_EQ(billfish_hessian_add_on(BILLFISH_CUDA, 63, x.data(), BILLFISH_F32, 10, 8, 0, h.data(), &count, nullptr), BILLFISH_DEVICE_ERROR);
  EXPECT_EQ(billfish_last_error(), why);
  EXPECT_TRUE(std::isnan(h[0]));
  billfish_quantize_options options = BILLFISH_QUANTIZE_OPTIONS_INIT;
  options.device_kind = BILLFISH_CUDA;
  options.device_index = 63;
  options.group = 8;
  std::vector<std::uint8_t> codes(80, 77);
  std::vector<std::uint16_t> scales(10);
  billfish_quantized out = BILLFISH_QUANTIZED_INIT;
  out.codes = codes.data();
  out.scales = scales.data();
  EXPECT_EQ(billfish_quantize_matrix(&options, x.data(), 10, 8, 0, nullptr, &out), BILLFISH_DEVICE_ERROR);
  EXPECT_EQ(codes, std::vector<std::uint8_t>(80, 77));
}

}  // namespace
}  // namespace billfish::quantize
