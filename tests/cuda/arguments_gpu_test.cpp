// SPDX-License-Identifier: Apache-2.0
// Bad calls through the C ABI with device memory: a status, a sentence that names the argument, and nothing launched.
#include <cstring>
#include <string>
#include <vector>

#include "core/half.hpp"
#include "support.hpp"

namespace billfish::cuda_test {
namespace {

struct Call {
  Matrix matrix;
  Product product;
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
};

Call good_call() {
  MatrixOptions options;
  options.n = 256, options.k = 14336;
  Call call;
  call.matrix = make_matrix(options);
  ProductOptions product;
  product.m = 4;
  call.product = make_product(call.matrix, product);
  call.weights = weights_of(call.matrix);
  call.args.m = 4, call.args.a = call.product.a.data(), call.args.lda = 14336, call.args.c = call.product.c.data(), call.args.ldc = 256;
  call.args.a_type = call.args.c_type = BILLFISH_F16;
  return call;
}

void expect_refused(const Call& call, billfish_status status, const char* word) {
  EXPECT_EQ(billfish_gemm(&call.weights, &call.args, nullptr), status) << word << ": " << billfish_last_error();
  EXPECT_NE(std::string(billfish_last_error()).find(word), std::string::npos) << billfish_last_error();
  require(cudaDeviceSynchronize(), "after a refusal");
  for (const unsigned char byte : output_of(call.product)) ASSERT_EQ(byte, 0xff) << word << ": C was written";
}

TEST(SmallArguments, BadCallsAreRefusedAndLaunchNothing) {
  Call call = good_call();
  const auto refuse = [&](auto&& change, billfish_status status, const char* word) {
    const billfish_weights weights = call.weights;
    const billfish_gemm_args args = call.args;
    change();
    expect_refused(call, status, word);
    call.weights = weights, call.args = args;
  };
  refuse([&] { call.args.a = nullptr; }, BILLFISH_INVALID_ARGUMENT, "a");
  refuse([&] { call.args.c = nullptr; }, BILLFISH_INVALID_ARGUMENT, "c");
  refuse([&] { call.weights.codes = nullptr; }, BILLFISH_INVALID_ARGUMENT, "codes");
  refuse([&] { call.weights.scales = nullptr; }, BILLFISH_INVALID_ARGUMENT, "scales");
  refuse([&] { call.args.m = -1; }, BILLFISH_INVALID_ARGUMENT, "m");
  refuse([&] { call.args.lda = 14335; }, BILLFISH_INVALID_ARGUMENT, "lda");
  refuse([&] { call.args.ldc = 255; }, BILLFISH_INVALID_ARGUMENT, "ldc");
  refuse([&] { call.weights.codes = static_cast<char*>(call.weights.codes) + 4; }, BILLFISH_INVALID_ARGUMENT, "codes");
  refuse([&] { call.weights.scales = static_cast<char*>(call.weights.scales) + 2; }, BILLFISH_INVALID_ARGUMENT, "scales");
  refuse([&] { call.args.a = static_cast<const char*>(call.args.a) + 1; }, BILLFISH_INVALID_ARGUMENT, "a");
  refuse([&] { call.weights.type = BILLFISH_U4; }, BILLFISH_INVALID_ARGUMENT, "zeros");
  // Half the rows, so that A read as f32 still ends where its buffer does.
  refuse([&] { call.args.a_type = BILLFISH_F32, call.args.m = 2; }, BILLFISH_UNSUPPORTED, "f32");
  refuse([&] { call.weights.group = 100; }, BILLFISH_UNSUPPORTED, "group");
  refuse([&] { call.weights.device_index = 99; }, BILLFISH_DEVICE_ERROR, "99");
  refuse([&] { call.args.implementation = "sm70"; }, BILLFISH_INVALID_ARGUMENT, "sm70");
  refuse([&] { call.args.implementation = "cpu_scalar"; }, BILLFISH_UNSUPPORTED, "cpu_scalar");
  EXPECT_EQ(billfish_gemm(&call.weights, &call.args, nullptr), BILLFISH_OK) << billfish_last_error();
  require(cudaDeviceSynchronize(), "a good call");
}

TEST(SmallArguments, AnyWorkspaceIsEnoughAndNoneAlwaysWorks) {
  Call call = good_call();
  call.args.implementation = "sm80";
  std::size_t bytes = 0;
  ASSERT_EQ(billfish_gemm_workspace(&call.weights, &call.args, &bytes), BILLFISH_OK);
  EXPECT_GT(bytes, 0u) << "this shape is split over blocks";
  const Buffer workspace(bytes);
  std::vector<unsigned char> want;
  for (const std::size_t given : {bytes, bytes / 2, std::size_t{0}}) {
    call.product.c.poison();
    call.args.workspace = given > 0 ? workspace.data() : nullptr, call.args.workspace_bytes = given;
    ASSERT_EQ(billfish_gemm(&call.weights, &call.args, nullptr), BILLFISH_OK) << billfish_last_error();
    require(cudaDeviceSynchronize(), "a product");
    EXPECT_TRUE(workspace.guards_intact());
    std::vector<std::uint16_t> got(4 * 256);
    call.product.c.download_to(got.data());
    std::vector<reference::Sums> sums(got.size());
    reference::multiply(call.matrix.on_host, call.product.host_a.data(), ElementType::f16, 4, 14336, false, 0, 256, sums.data(), {});
    const reference::Rounding rounding = reference::rounding_of(call.product.problem, DeviceKind::cuda);
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(reference::acceptable(rounding, 14336, sums[i], load_element(got.data(), ElementType::f16, static_cast<std::int64_t>(i))))
          << "workspace of " << given << " bytes, element " << i;
    }
  }
}

}  // namespace
}  // namespace billfish::cuda_test
