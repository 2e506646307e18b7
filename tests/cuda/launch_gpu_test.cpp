// SPDX-License-Identifier: Apache-2.0
// How launches behave: replays give the same bits under load, graphs capture them, dependent launches read A in time, two streams with two
// workspaces do not meet, planning costs next to nothing.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "cuda/cuda.hpp"
#include "core/half.hpp"
#include "support.hpp"

namespace billfish::cuda_test {
namespace {

class Family : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    // Which family a machine has is not this test's to judge: the grid insists that one of them runs.
    ProductOptions product;
    take_family(product);
    here_ = runs_here(product.implementation);
    if (!here_) EXPECT_STREQ(product.implementation, "sm90") << "sm80 runs on every supported device";
  }
  // sm90_zeroed: as callers that bring a workspace of zeros, without which no blocks share tiles.
  void take_family(ProductOptions& product) const {
    product.zeroed_workspace = std::strcmp(GetParam(), "sm90_zeroed") == 0;
    product.implementation = product.zeroed_workspace ? "sm90" : GetParam();
  }
  bool here_ = false;
};
const auto kFamilies = testing::Values("sm80", "sm90", "sm90_zeroed");
std::string name_of_family(const testing::TestParamInfo<const char*>& info) { return info.param; }
INSTANTIATE_TEST_SUITE_P(Cuda, Family, kFamilies, name_of_family);

class Stream {
 public:
  Stream() { require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream"); }
  ~Stream() { (void)cudaStreamDestroy(stream_); }
  cudaStream_t get() const { return stream_; }
  void wait() const { require(cudaStreamSynchronize(stream_), "waiting for a stream"); }

 private:
  cudaStream_t stream_ = nullptr;
};

// What `enqueue` puts on a stream, as a graph that can be replayed.
class Graph {
 public:
  template <class F>
  explicit Graph(F&& enqueue) {
    const Stream stream;
    require(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal), "beginning a capture");
    enqueue(stream.get());
    cudaGraph_t graph = nullptr;
    require(cudaStreamEndCapture(stream.get(), &graph), "ending a capture");
    require(cudaGraphInstantiate(&executable_, graph, 0), "making a graph");
    require(cudaGraphDestroy(graph), "dropping a graph");
  }
  ~Graph() { (void)cudaGraphExecDestroy(executable_); }
  void launch(const Stream& stream) const { require(cudaGraphLaunch(executable_, stream.get()), "replaying a graph"); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

TEST_P(Family, AThousandReplaysBesideABusyStreamGiveTheSameBits) {
  if (!here_) return;
  MatrixOptions options;
  options.n = 4096, options.k = 4096;
  const Matrix matrix = make_matrix(options);
  MatrixOptions other_options;
  other_options.n = 11008, other_options.k = 2048, other_options.seed = 9;
  const Matrix other_matrix = make_matrix(other_options);
  ProductOptions product;
  take_family(product);
  for (const std::int64_t m : {1, 16, 100}) {
    product.m = m;
    Product p = make_product(matrix, product), other = make_product(other_matrix, product);
    ASSERT_EQ(p.refusal + other.refusal, "");
    expect_right(p, "before replays");
    const std::vector<unsigned char> want = output_of(p);
    const Graph graph([&](cudaStream_t stream) { ASSERT_TRUE(run(p, stream).ok()); });
    const Graph noise([&](cudaStream_t stream) {
      for (int i = 0; i < 7; ++i) ASSERT_TRUE(run(other, stream).ok());
    });
    const Stream first, second;
    for (int round = 0; round < 20; ++round) {
      p.c.poison();
      for (int i = 0; i < 50; ++i) {
        graph.launch(first);
        if (i % 5 == 0) noise.launch(second);
      }
      first.wait();
      ASSERT_TRUE(output_of(p) == want) << "m " << m << ", after " << (round + 1) * 50 << " replays";
    }
    second.wait();
  }
}

// Zeroed once, a workspace serves calls of every size, in any order.
TEST_P(Family, OneWorkspaceServesCallsOfEverySize) {
  if (!here_) return;
  MatrixOptions options;
  options.n = 5120, options.k = 4096;
  const Matrix matrix = make_matrix(options);
  ProductOptions product;
  take_family(product);
  std::vector<Product> products;
  std::vector<std::vector<unsigned char>> wanted;
  std::size_t most = 16;
  products.reserve(16);
  for (const std::int64_t m : {1, 40, 8, 200, 64, 600, 16, 33, 3, 128}) {
    product.m = m;
    products.push_back(make_product(matrix, product));
    ASSERT_EQ(products.back().refusal, "");
    expect_right(products.back(), "with its own workspace");
    wanted.push_back(output_of(products.back()));
    most = std::max(most, products.back().workspace.bytes());
  }
  Buffer workspace(most);
  require(cudaMemset(workspace.data(), 0, most), "clearing the workspace");
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < products.size(); ++i) {
      products[i].call.workspace = workspace.data();
      products[i].call.workspace_bytes = static_cast<std::int64_t>(most);
      ASSERT_TRUE(bits_of(products[i], "a product") == wanted[i]) << "m " << products[i].options.m << " in round " << round;
    }
  }
}

TEST_P(Family, TwoStreamsWithTwoWorkspacesDoNotMeet) {
  if (!here_) return;
  MatrixOptions options;
  options.n = 1024, options.k = 14336;  // few tiles, long K: splits where the family has them
  const Matrix matrix = make_matrix(options);
  ProductOptions product;
  take_family(product), product.m = 5;
  Product one = make_product(matrix, product);
  product.seed = 77;
  Product two = make_product(matrix, product);
  expect_right(one, "alone"), expect_right(two, "alone");
  const std::vector<unsigned char> want_one = output_of(one), want_two = output_of(two);
  ASSERT_FALSE(want_one == want_two);
  const Stream first, second;
  for (int round = 0; round < 10; ++round) {
    one.c.poison(), two.c.poison();
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(run(one, first.get()).ok());
      ASSERT_TRUE(run(two, second.get()).ok());
    }
    first.wait(), second.wait();
    ASSERT_TRUE(output_of(one) == want_one && output_of(two) == want_two) << "round " << round;
  }
}

// y = W2 (W1 x), again and again in one graph: each product's A is what the one before it has just written.
class ChainedLayers : public Family {
 protected:
  void expect_equal_chains(bool act_order);
};
INSTANTIATE_TEST_SUITE_P(Cuda, ChainedLayers, kFamilies, name_of_family);
TEST_P(ChainedLayers, ReadWhatTheLayerBeforeWrote) {
  if (here_) expect_equal_chains(false);
}
// A copy of A that the product before may still be reading.
TEST_P(ChainedLayers, ReadWhatTheLayerBeforeWroteInAnotherOrder) {
  if (here_) expect_equal_chains(true);
}

void ChainedLayers::expect_equal_chains(bool act_order) {
  MatrixOptions up, down;
  up.n = 5120, up.k = 2048, up.seed = 3;
  down.n = 2048, down.k = 5120, down.seed = 4;
  up.act_order = down.act_order = act_order;
  const Matrix w1 = make_matrix(up), w2 = make_matrix(down);
  constexpr int pairs = 12;
  for (const std::int64_t m : {1, 8, 24}) {
    std::vector<unsigned char> want;
    for (const bool dependent : {false, true}) {
      ProductOptions product;
      take_family(product), product.m = m, product.dependent_launch = dependent;
      Product first = make_product(w1, product), second = make_product(w2, product);
      if (act_order && m <= 16 && !first.refusal.empty()) {
        EXPECT_NE(first.refusal.find("act order"), std::string::npos) << first.refusal;
        continue;
      }
      ASSERT_EQ(first.refusal + second.refusal, "");
      EXPECT_TRUE(dependent || !first.plan.dependent_launch);
      // y1 = W1 x; x = W2 y1: the second's C is the first's A.
      const std::vector<std::uint16_t> x = first.host_a;
      second.call.a = first.call.c;
      second.call.c = const_cast<void*>(first.call.a);
      const auto chain = [&](cudaStream_t stream) {
        for (int i = 0; i < pairs; ++i) {
          ASSERT_TRUE(run(first, stream).ok());
          ASSERT_TRUE(run(second, stream).ok());
        }
      };
      // Step by step, each product waited for: what the chain must equal.
      if (want.empty()) {
        for (int i = 0; i < pairs; ++i) {
          run_and_wait(first, "a step");
          run_and_wait(second, "a step");
        }
        want = first.a.download<unsigned char>();
        first.a.upload(x.data());
        // One step against the reference, so that the chain is not merely consistent.
        expect_right(first, "a step of the chain");
      }
      const Graph graph(chain);
      const Stream stream;
      for (int replay = 0; replay < 20; ++replay) {
        first.a.upload(x.data());
        first.c.poison();
        graph.launch(stream);
        stream.wait();
        ASSERT_TRUE(first.a.download<unsigned char>() == want) << "m " << m << " dependent " << dependent << " replay " << replay;
      }
    }
  }
}

// Sums of small integers with power-of-two scales are exact in f32: any order of summation gives the oracle's bits.
TEST_P(Family, ExactProductsMatchTheReferenceToTheBit) {
  if (!here_) return;
  for (const WeightType type : {WeightType::u4b8, WeightType::u4, WeightType::u8b128}) {
    for (const std::int64_t group : {std::int64_t{-1}, std::int64_t{32}, std::int64_t{128}}) {
      for (const std::int64_t m : {1, 13, 40, 130}) {
        MatrixOptions options;
        options.type = type, options.group = group, options.n = 320, options.k = 1024, options.exact = true, options.bias = true;
        const Matrix matrix = make_matrix(options);
        ProductOptions product;
        take_family(product), product.m = m, product.c = ElementType::f32, product.exact = true;
        Product p = make_product(matrix, product);
        ASSERT_EQ(p.refusal, "");
        run_and_wait(p, "an exact product");
        std::vector<float> got(static_cast<std::size_t>(m * 320));
        p.c.download_to(got.data());
        std::vector<reference::Sums> want(got.size());
        reference::multiply(matrix.on_host, p.host_a.data(), product.a, m, p.call.lda, true, 0, 320, want.data(), {});
        for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], static_cast<float>(want[i].y)) << name_of(type) << " element " << i;
      }
    }
  }
}

TEST_P(Family, InfinitiesAndNaNsReachTheirRowsAndColumnsOnly) {
  if (!here_) return;
  MatrixOptions options;
  options.n = 192, options.k = 512;
  Matrix matrix = make_matrix(options);
  // Column 70 has a NaN scale in group 1, column 5 an infinite one in group 3 (grouped order: 8 * (n % 8) + n % 64 / 8 within 64).
  matrix.host_scales[1 * 192 + 64 + 8 * (6 % 8) + 6 / 8] = 0x7e00;
  matrix.host_scales[3 * 192 + 8 * 5 + 0] = 0x7c00;
  matrix.scales.upload(matrix.host_scales.data());
  for (const std::int64_t m : {3, 40}) {
    ProductOptions product;
    take_family(product), product.m = m;
    Product p = make_product(matrix, product);
    p.host_a[static_cast<std::size_t>(1 * p.call.lda + 17)] = 0x7e00;   // row 1: NaN
    p.host_a[static_cast<std::size_t>(2 * p.call.lda + 300)] = 0xfc00;  // row 2: -infinity
    p.a.upload(p.host_a.data());
    run_and_wait(p, "a product with NaN");
    std::vector<std::uint16_t> got(static_cast<std::size_t>(m * 192));
    p.c.download_to(got.data());
    std::vector<reference::Sums> want(got.size());
    reference::multiply(matrix.on_host, p.host_a.data(), product.a, m, p.call.lda, false, 0, 192, want.data(), {});
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double value = load_element(got.data(), ElementType::f16, static_cast<std::int64_t>(i));
      ASSERT_EQ(std::isfinite(value), std::isfinite(want[i].y))
          << "m " << m << " row " << i / 192 << " column " << i % 192 << ": " << value;
      if (std::isnan(want[i].y)) ASSERT_TRUE(!std::isfinite(value));
    }
  }
}

// The ABI's whole path on the host: arguments, plan, launch. Measured against the launch alone, which cannot be avoided.
TEST(HostCost, ChecksAndPlanTakeLessThanALaunch) {
  MatrixOptions options;
  options.n = 1024, options.k = 1024;
  const Matrix matrix = make_matrix(options);
  ProductOptions product;
  product.implementation = runs_here("sm90") ? "sm90" : "sm80";
  product.m = 1;
  Product p = make_product(matrix, product);
  const billfish_weights weights = weights_of(matrix);
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.m = 1, args.a = p.call.a, args.lda = 1024, args.c = p.c.data(), args.ldc = 1024;
  args.a_type = args.c_type = BILLFISH_F16;
  args.workspace = p.call.workspace, args.workspace_bytes = static_cast<std::size_t>(p.call.workspace_bytes);
  args.implementation = product.implementation;
  const Stream stream;
  const auto seconds_of = [&](auto&& call) {
    stream.wait();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 100; ++i) call();  // far fewer than the stream's queue holds
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / 100;
  };
  ASSERT_EQ(billfish_gemm(&weights, &args, stream.get()), BILLFISH_OK) << billfish_last_error();
  double whole = 1, launch = 1;
  for (int round = 0; round < 30; ++round) {  // in turns: the host's clock moves
    whole = std::min(whole, seconds_of([&] { (void)billfish_gemm(&weights, &args, stream.get()); }));
    launch = std::min(launch, seconds_of([&] { (void)run(p, stream.get()); }));
  }
  std::printf("host cost a call: %.2f us, of which the launch %.2f us\n", whole * 1e6, launch * 1e6);
  EXPECT_LT(whole - launch, 0.75 * launch);  // 0.3 of about 2 us on most hosts
  stream.wait();
}

TEST(Device, TheCurrentDeviceAndFactsAreAsTheyWere) {
  int before = -1, after = -1;
  require(cudaGetDevice(&before), "the current device");
  ASSERT_TRUE(cuda::prepare(cuda::device_count() - 1).ok());
  require(cudaGetDevice(&after), "the current device");
  EXPECT_EQ(before, after);
  const Result<gemm::DeviceFacts> beyond = cuda::facts(cuda::device_count());
  ASSERT_FALSE(beyond.ok());
  EXPECT_EQ(beyond.status().code(), Code::device_error);
  EXPECT_NE(beyond.status().message().find("device index is " + std::to_string(cuda::device_count())), std::string::npos);
  EXPECT_FALSE(cuda::facts(-1).ok());
  EXPECT_FALSE(cuda::prepare(99).ok());
  EXPECT_GE(device().architecture, 80);
  EXPECT_GT(device().multiprocessors, 0);
}

TEST(Device, CallsFromManyThreadsAreSafe) {
  MatrixOptions options;
  options.n = 512, options.k = 2048;
  const Matrix matrix = make_matrix(options);
  ProductOptions product;
  product.m = 9;
  Product model = make_product(matrix, product);
  expect_right(model, "one thread");
  const std::vector<unsigned char> want = output_of(model);
  std::vector<Product> products;
  for (int i = 0; i < 8; ++i) products.push_back(make_product(matrix, product));
  std::vector<std::thread> threads;
  for (Product& p : products) {
    threads.emplace_back([&p] {
      const Stream stream;
      for (int i = 0; i < 200; ++i) {
        if (!run(p, stream.get()).ok()) return;
      }
      stream.wait();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Product& p : products) EXPECT_TRUE(output_of(p) == want);
}

// Without a workspace there is always a plan; what it costs is printed for the essay.
TEST(Plans, EveryProblemHasAPlanWithoutWorkspace) {
  for (const std::int64_t k : {std::int64_t{4096}, std::int64_t{14336}}) {
    MatrixOptions options;
    options.n = 4096, options.k = k;
    const Matrix matrix = make_matrix(options);
    for (const bool none : {false, true}) {
      ProductOptions product;
      product.m = 1, product.no_workspace = none;
      Product p = make_product(matrix, product);
      ASSERT_EQ(p.refusal, "");
      if (none) EXPECT_EQ(p.plan.workspace_bytes, 0);
      expect_right(p, "with or without a workspace");
    }
  }
}

}  // namespace
}  // namespace billfish::cuda_test
