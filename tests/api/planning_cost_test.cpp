// SPDX-License-Identifier: Apache-2.0
// What a call costs before any work is done: checks and a plan from the cache, under a microsecond, and no memory allocated.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>

#include "api/sample.hpp"

namespace {
std::atomic<std::int64_t> allocations{0};
}  // namespace

// Counts what the whole test program allocates; the library's own objects are linked in statically, so theirs too.
void* operator new(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {  // what std::stable_sort takes its buffer from
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(bytes > 0 ? bytes : 1);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace billfish::api_test {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
constexpr double kMostNanoseconds = 50'000;  // instrumented code: the figure is printed, the limit only catches disasters
#else
constexpr double kMostNanoseconds = 1'000;
#endif

// The best of many short batches: what the code costs, not what a shared machine does to it.
template <class Call>
double nanoseconds_per_call(Call call) {
  constexpr int kBatches = 300, kCalls = 200;
  double best = std::numeric_limits<double>::infinity();
  for (int batch = 0; batch < kBatches; ++batch) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) call();
    const std::chrono::duration<double, std::nano> elapsed = std::chrono::steady_clock::now() - begin;
    best = std::min(best, elapsed.count() / kCalls);
  }
  return best;
}

// The workspace query makes the same checks and takes the same plan as billfish_gemm, and stops there.
TEST(PlanningCost, ChecksAndPlanTakeUnderAMicrosecond) {
  const Sample sample({BILLFISH_U4B8, 4096, 256, 128});
  PackedSample packed(sample);
  Product product(packed.weights, 4, BILLFISH_F16, BILLFISH_F16);
  billfish_pool* pool = nullptr;
  ASSERT_EQ(billfish_pool_create(1, &pool), BILLFISH_OK);
  billfish_parallel parallel = BILLFISH_PARALLEL_INIT;
  parallel.pool = pool;
  product.args.parallel = &parallel;
  std::size_t bytes = 0;
  ASSERT_EQ(billfish_gemm_workspace(&packed.weights, &product.args, &bytes), BILLFISH_OK) << billfish_last_error();
  const double plain = nanoseconds_per_call([&] { billfish_gemm_workspace(&packed.weights, &product.args, &bytes); });
  product.args.implementation = "cpu_scalar";
  ASSERT_EQ(billfish_gemm_workspace(&packed.weights, &product.args, &bytes), BILLFISH_OK) << billfish_last_error();
  const double forced = nanoseconds_per_call([&] { billfish_gemm_workspace(&packed.weights, &product.args, &bytes); });
  std::printf("checks and cached plan: %.0f ns, with an implementation named: %.0f ns\n", plain, forced);
  RecordProperty("nanoseconds", static_cast<int>(plain));
  EXPECT_LT(plain, kMostNanoseconds);
  EXPECT_LT(forced, kMostNanoseconds);
  billfish_pool_destroy(pool);
}

// A decode step goes through all of a model's layers: their plans must be there each time round.
TEST(PlanningCost, AModelsWorthOfShapesTakesUnderAMicrosecondEach) {
  const Sample sample({BILLFISH_U4B8, 64, 64, 32});
  PackedSample packed(sample);
  Product product(packed.weights, 1, BILLFISH_F16, BILLFISH_F16);
  const std::int64_t shapes[][2] = {{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}};
  std::size_t bytes = 0, next = 0;
  const auto call = [&] {
    billfish_weights weights = packed.weights;  // sizes alone matter to the query
    weights.n = shapes[next % 4][0];
    weights.k = shapes[next++ % 4][1];
    billfish_gemm_args args = product.args;
    args.lda = weights.k;
    args.ldc = weights.n;
    billfish_gemm_workspace(&weights, &args, &bytes);
  };
  const double cost = nanoseconds_per_call(call);
  std::printf("four shapes in turn: %.0f ns a call\n", cost);
  EXPECT_LT(cost, kMostNanoseconds);
}

TEST(PlanningCost, ASuccessfulCallAllocatesNothing) {
  const Sample sample({BILLFISH_U4B8, 128, 256, 64, BILLFISH_F16, true});
  PackedSample packed(sample);
  for (const std::int64_t m : {1, 5, 33}) {
    Product product(packed.weights, m, BILLFISH_F16, BILLFISH_F16);
    ASSERT_EQ(product.run(), BILLFISH_OK) << billfish_last_error();  // the first call plans
    const std::int64_t before = allocations.load();
    billfish_status status = BILLFISH_OK;
    for (int i = 0; i < 10 && status == BILLFISH_OK; ++i) status = billfish_gemm(&packed.weights, &product.args, nullptr);
    EXPECT_EQ(allocations.load(), before) << "m " << m;
    EXPECT_EQ(status, BILLFISH_OK);
  }
}

}  // namespace
}  // namespace billfish::api_test
