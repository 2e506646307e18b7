// SPDX-License-Identifier: Apache-2.0
// Who does the work: a persistent pool, a caller's parallel-for, or the calling thread. Work is cut by index, never by thread,
// so results do not depend on who runs what.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace billfish {

using TaskFn = void (*)(void* context, std::int64_t index);

// threads - 1 workers that spin briefly and then sleep; the caller is the last one. One job at a time: a second caller waits.
// A task that calls run() on its own pool does that inner job alone, in its thread.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // >= 1, the calling thread included; fewer if the system refuses to start that many
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // Calls task(context, i) once for every i in [0, count); returns after all. Tasks must not throw.
  void run(std::int64_t count, TaskFn task, void* context);

 private:
  void work();
  void help();
  bool await_job(std::uint64_t seen);
  std::vector<std::thread> workers_;
  int spins_ = 0;       // how often an idle worker looks before it sleeps
  std::mutex callers_;  // held by the one caller whose job runs
  std::mutex mutex_;    // guards sleeping
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> generation_{0};  // grows with every job
  std::atomic<bool> open_{false};             // may a worker join the job?
  TaskFn task_ = nullptr;                     // the job: written while closed and nobody is inside
  void* context_ = nullptr;
  std::int64_t count_ = 0;
  alignas(64) std::atomic<std::int64_t> next_{0};  // first index that nobody took
  alignas(64) std::atomic<int> inside_{0};         // workers between joining and leaving
};

// How many threads this process may run at once (its affinity mask, not the machine).
int usable_threads();

using ParallelForFn = void (*)(void* user, std::int64_t count, TaskFn task, void* context);

// A borrowed choice of the three. Default: the calling thread alone.
struct Parallel {
  ThreadPool* pool = nullptr;
  ParallelForFn parallel_for = nullptr;
  void* user = nullptr;
  int width = 1;  // tasks that may run at once

  int threads() const { return pool ? pool->threads() : parallel_for ? (width > 0 ? width : 1) : 1; }
  template <class F>
  void run(std::int64_t count, F&& body) const {
    auto call = [](void* context, std::int64_t index) { (*static_cast<std::remove_reference_t<F>*>(context))(index); };
    if (count <= 0) return;
    if (pool && count > 1) {
      pool->run(count, call, &body);
    } else if (!pool && parallel_for) {
      parallel_for(user, count, call, &body);
    } else {
      for (std::int64_t i = 0; i < count; ++i) body(i);
    }
  }
};

}  // namespace billfish
