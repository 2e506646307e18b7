// SPDX-License-Identifier: Apache-2.0
// The pool: every index once, late workers, many callers, nesting. Meant to run under the thread sanitizer too.
#include "core/threads.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace billfish {
namespace {

Parallel on(ThreadPool& pool) { return {.pool = &pool}; }

TEST(ThreadPool, RunsEveryIndexOnceWhateverTheWidth) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const std::int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<int> hits(static_cast<std::size_t>(count), 0);  // plain ints: a second visit from another thread is a race
      on(pool).run(count, [&](std::int64_t i) { ++hits[static_cast<std::size_t>(i)]; });
      for (const int hit : hits) EXPECT_EQ(hit, 1);
    }
  }
}

TEST(ThreadPool, LateWorkersNeverTouchAFinishedJob) {
  ThreadPool pool(4);
  for (int round = 0; round < 3000; ++round) {  // contexts die at once; a late worker would read a dead one
    auto sum = std::make_unique<std::atomic<std::int64_t>>(0);
    const std::int64_t count = 2 + round % 5;
    on(pool).run(count, [&](std::int64_t i) { sum->fetch_add(i + 1); });
    EXPECT_EQ(sum->load(), count * (count + 1) / 2);
  }
}

TEST(ThreadPool, WakesWorkersThatWentToSleep) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // far beyond the spin
    std::atomic<int> arrived{0};
    // Each of the two tasks waits for the other: only two threads at once can finish this.
    on(pool).run(2, [&](std::int64_t) {
      arrived.fetch_add(1);
      while (arrived.load() != 2) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 2);
  }
}

TEST(ThreadPool, ManyCallersTakeTurns) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::vector<std::int64_t> sums(4, 0);
  for (std::size_t c = 0; c < sums.size(); ++c) {
    callers.emplace_back([&, c] {
      for (int round = 0; round < 200; ++round) {
        std::vector<std::int64_t> out(64, 0);
        on(pool).run(64, [&](std::int64_t i) { out[static_cast<std::size_t>(i)] = i; });
        for (const std::int64_t value : out) sums[c] += value;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::int64_t sum : sums) EXPECT_EQ(sum, 200 * 63 * 64 / 2);
}

TEST(ThreadPool, NestedRunsDoNotWaitForThemselves) {
  ThreadPool pool(2);
  std::atomic<int> total{0};
  on(pool).run(4, [&](std::int64_t) { on(pool).run(5, [&](std::int64_t) { total.fetch_add(1); }); });
  EXPECT_EQ(total.load(), 20);
}

TEST(ThreadPool, EndsAtOnceWhenNothingRan) {
  for (int round = 0; round < 20; ++round) ThreadPool pool(3);
}

TEST(Parallel, UsesTheCallersLoopAndItsWidth) {
  int calls = 0;
  Parallel parallel;
  parallel.user = &calls;
  parallel.width = 5;
  parallel.parallel_for = [](void* user, std::int64_t count, TaskFn task, void* context) {
    ++*static_cast<int*>(user);
    for (std::int64_t i = count - 1; i >= 0; --i) task(context, i);  // any order is legal
  };
  std::vector<std::int64_t> seen;
  parallel.run(3, [&](std::int64_t i) { seen.push_back(i); });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(parallel.threads(), 5);
  EXPECT_EQ(seen, (std::vector<std::int64_t>{2, 1, 0}));
}

TEST(Parallel, DefaultsToTheCallingThread) {
  const auto self = std::this_thread::get_id();
  int runs = 0;
  Parallel().run(3, [&](std::int64_t) { runs += std::this_thread::get_id() == self; });
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(Parallel().threads(), 1);
}

TEST(UsableThreads, CountsTheAffinityMask) {
  EXPECT_GE(usable_threads(), 1);
  std::thread([] {  // a mask belongs to a thread: narrowing it here leaves the others alone
    cpu_set_t mask;
    ASSERT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
    int first = 0;
    while (!CPU_ISSET(first, &mask)) ++first;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    ASSERT_EQ(sched_setaffinity(0, sizeof mask, &mask), 0);
    EXPECT_EQ(usable_threads(), 1);
  })
      .join();
}

}  // namespace
}  // namespace billfish
