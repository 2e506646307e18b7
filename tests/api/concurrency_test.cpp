// SPDX-License-Identifier: Apache-2.0
// Many threads at once: own pools, one shared pool, pools that come and go, messages that stay with their thread. Run under TSan too.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "api/sample.hpp"

namespace billfish::api_test {
namespace {

constexpr int kThreads = 8;
constexpr int kRounds = 12;

template <class Body>
void on_many_threads(Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

// Every thread multiplies its own rows with the shared weights and compares with what one thread computed before.
void expect_same_from_all(const billfish_weights& weights, const std::vector<billfish_pool*>& pools) {
  std::vector<std::vector<float>> expected;
  for (int i = 0; i < kThreads; ++i) {
    Product product(weights, 1 + i, BILLFISH_F16, BILLFISH_F32, static_cast<std::uint64_t>(i));
    ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();
    ASSERT_EQ(product.compare_with_oracle(), "");
    expected.push_back(product.result());
  }
  std::atomic<int> wrong{0};
  on_many_threads([&](int i) {
    billfish_parallel parallel = BILLFISH_PARALLEL_INIT;
    parallel.pool = pools[static_cast<std::size_t>(i) % pools.size()];
    Product product(weights, 1 + i, BILLFISH_F16, BILLFISH_F32, static_cast<std::uint64_t>(i));
    product.args.parallel = &parallel;
    for (int round = 0; round < kRounds; ++round) {
      product.c.reset(product.c.bytes());
      product.args.c = product.c.data();
      if (product.run() != BILLFISH_OK || product.result() != expected[static_cast<std::size_t>(i)]) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(Concurrency, EveryThreadWithAPoolOfItsOwn) {
  const Sample sample({BILLFISH_U4, 192, 512, 64, BILLFISH_F16, true});
  PackedSample packed(sample);
  std::vector<billfish_pool*> pools(kThreads);
  for (billfish_pool*& pool : pools) ASSERT_EQ(billfish_pool_create(2, &pool), BILLFISH_OK);
  expect_same_from_all(packed.weights, pools);
  for (billfish_pool* pool : pools) billfish_pool_destroy(pool);
}

TEST(Concurrency, AllThreadsShareOnePool) {
  const Sample sample({BILLFISH_U8B128, 192, 512, 64});
  PackedSample packed(sample);
  billfish_pool* pool = nullptr;
  ASSERT_EQ(billfish_pool_create(3, &pool), BILLFISH_OK);
  EXPECT_EQ(billfish_pool_threads(pool), 3);
  expect_same_from_all(packed.weights, {pool});
  billfish_pool_destroy(pool);
}

TEST(Concurrency, WithoutAnyPool) {
  const Sample sample({BILLFISH_U4B8, 192, 512, -1});
  PackedSample packed(sample);
  expect_same_from_all(packed.weights, {nullptr});
}

TEST(Concurrency, PackingAndPoolsThatComeAndGo) {
  const Sample sample({BILLFISH_U4, 192, 256, 32, BILLFISH_F16, true, true});
  PackedSample expected(sample);
  std::atomic<int> wrong{0};
  on_many_threads([&](int i) {
    for (int round = 0; round < kRounds; ++round) {
      billfish_pool* pool = nullptr;
      if (billfish_pool_create(1 + i % 3, &pool) != BILLFISH_OK) ++wrong;
      billfish_parallel parallel = BILLFISH_PARALLEL_INIT;
      parallel.pool = pool;
      PackedSample packed(sample.matrix, &parallel);
      for (int part = 0; part < 6; ++part) {
        const std::size_t bytes = packed.parts[part].bytes();
        if (bytes != expected.parts[part].bytes()) ++wrong;
        if (bytes > 0 && std::memcmp(packed.parts[part].data(), expected.parts[part].data(), bytes) != 0) ++wrong;
      }
      billfish_pool_destroy(pool);
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(Concurrency, AMessageBelongsToItsThread) {
  std::atomic<int> wrong{0};
  on_many_threads([&](int i) {
    if (std::string(billfish_last_error()) != "") ++wrong;
    for (int round = 0; round < 200; ++round) {
      billfish_pool* pool = nullptr;
      const int threads = -1 - i;
      if (billfish_pool_create(threads, &pool) != BILLFISH_INVALID_ARGUMENT) ++wrong;
      if (std::string(billfish_last_error()).find("threads is " + std::to_string(threads) + ";") == std::string::npos) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(Concurrency, TheLogMayBeChangedWhileOthersWriteToIt) {
  const Sample sample({});
  PackedSample packed(sample);
  static std::atomic<int> lines{0};
  lines = 0;
  const billfish_log_fn count = [](void*, billfish_log_level, const char* message) { lines += message[0] != '\0'; };
  std::atomic<bool> stop{false};
  std::thread switcher([&] {
    while (!stop) {
      billfish_set_log(count, nullptr);
      billfish_set_log(nullptr, nullptr);
    }
  });
  on_many_threads([&](int i) {
    for (int m = 1; m <= 40; ++m) {  // a new m is a new plan, which is worth a note
      Product product(packed.weights, m + 50 * i, BILLFISH_F32, BILLFISH_F32);
      EXPECT_EQ(product.run(), BILLFISH_OK);
    }
  });
  stop = true;
  switcher.join();
  billfish_set_log(count, nullptr);
  const int before = lines;
  Product product(packed.weights, 1234, BILLFISH_F32, BILLFISH_F32);
  EXPECT_EQ(product.run(), BILLFISH_OK);
  EXPECT_GT(lines, before) << "a plan was chosen and nobody was told";
  billfish_set_log(nullptr, nullptr);
}

}  // namespace
}  // namespace billfish::api_test
