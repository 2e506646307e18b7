// SPDX-License-Identifier: Apache-2.0
// The drop-in symbol, called as a foreign caller does: its own declaration, everything on a stream, nothing waited for in between. The shim
// is compiled into this program, whose library is static; tests/rules check what the shared one shows.
#include "cuda/shim/marlin_cuda.cpp"

#include <vector>

#include "core/half.hpp"
#include "support.hpp"

namespace billfish::cuda_test {
namespace {

// The pointer type of the original: what a caller's foreign function declaration says.
using MarlinCuda = int (*)(const void*, const void*, void*, void*, int, int, int, void*, int, int, cudaStream_t, int, int, int, int);
const MarlinCuda call_marlin = &marlin_cuda;

TEST(SmallMarlinCuda, BothGroupModesAreRightOnAStreamWithoutWaiting) {
  for (const std::int64_t group : {std::int64_t{-1}, std::int64_t{128}, std::int64_t{64}, std::int64_t{1024}}) {
    for (const std::int64_t m : {1, 16, 70}) {
      MatrixOptions options;
      options.n = 512, options.k = 1024, options.group = group;
      const Matrix matrix = make_matrix(options);
      ProductOptions product;
      product.m = m;
      Product p = make_product(matrix, product);
      const Buffer workspace(512 / 128 * 16 * 4);
      cudaStream_t stream = nullptr;
      require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
      // As the callers do: zero the workspace and the output on the stream, then call, with all hints at their defaults.
      require(cudaMemsetAsync(workspace.data(), 0, workspace.bytes(), stream), "a memset");
      require(cudaMemsetAsync(p.c.data(), 0, p.c.bytes(), stream), "a memset");
      ASSERT_EQ(call_marlin(p.a.data(), matrix.codes.data(), p.c.data(), matrix.scales.data(), static_cast<int>(m), 512, 1024,
                            workspace.data(), static_cast<int>(group), 0, stream, -1, -1, -1, 16),
                0);
      require(cudaStreamSynchronize(stream), "the stream");
      require(cudaStreamDestroy(stream), "the stream");
      for (const unsigned char byte : workspace.download<unsigned char>()) ASSERT_EQ(byte, 0) << "the workspace was written";
      EXPECT_TRUE(p.c.guards_intact());
      std::vector<std::uint16_t> got(static_cast<std::size_t>(m * 512));
      p.c.download_to(got.data());
      std::vector<reference::Sums> want(got.size());
      reference::multiply(matrix.on_host, p.host_a.data(), ElementType::f16, m, 1024, false, 0, 512, want.data(), {});
      const reference::Rounding rounding = reference::rounding_of(p.problem, DeviceKind::cuda);
      for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_TRUE(
            reference::acceptable(rounding, 1024, want[i], load_element(got.data(), ElementType::f16, static_cast<std::int64_t>(i))))
            << "group " << group << " m " << m << " element " << i;
      }
    }
  }
}

TEST(SmallMarlinCuda, ReturnCodesAreThoseOfTheOriginal) {
  MatrixOptions options;
  options.n = 128, options.k = 128;
  const Matrix matrix = make_matrix(options);
  const Buffer a(128 * 2), c(128 * 2);
  const auto call = [&](int m, int n, int k, int group, int device) {
    return call_marlin(a.data(), matrix.codes.data(), c.data(), matrix.scales.data(), m, n, k, nullptr, group, device, nullptr, 64, 256,
                       132, 1);
  };
  EXPECT_EQ(call(1, 128, 128, -1, 0), 0);
  EXPECT_EQ(call(0, 128, 128, 64, 0), 0);
  EXPECT_EQ(call(1, 100, 128, -1, 0), 1);
  EXPECT_EQ(call(1, 128, 120, -1, 0), 1);
  EXPECT_EQ(call(1, 128, 128, 100, 0), 1);
  EXPECT_EQ(call(1, 128, 128, 256, 0), 1);
  EXPECT_EQ(call(-1, 128, 128, -1, 0), 1);
  EXPECT_EQ(call(1, 128, 128, -1, 77), 2) << "no such device";
  EXPECT_EQ(call_marlin(nullptr, matrix.codes.data(), c.data(), matrix.scales.data(), 1, 128, 128, nullptr, -1, 0, nullptr, -1, -1, -1, 16),
            1);
  require(cudaDeviceSynchronize(), "the device");
}

}  // namespace
}  // namespace billfish::cuda_test
