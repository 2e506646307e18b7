// SPDX-License-Identifier: Apache-2.0
// The pool behind every parallel loop. Called by api/ (billfish_pool) and, through Parallel, by pack/, cpu/, reference/ and measure/.
//
// One job's life:  caller:  write task -> open -> generation + 1 -> wake sleepers -> take indices -> close -> wait until inside == 0
//                  worker:  see generation move -> inside + 1 -> open? -> take indices -> inside - 1
// A worker that comes late finds the job closed and touches nothing. Joining (inside + 1, then read open) and closing (open = false,
// then read inside) are both sequentially consistent, so one of the two sides always sees the other.
#include "core/threads.hpp"

#include <sched.h>

#include <cerrno>
#include <new>
#include <system_error>

namespace billfish {
namespace {

// About 50 us of looking before a thread sleeps: longer than the gap between two layers' products, short for everybody else.
constexpr int kSpins = 4000;

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The pool whose task this thread is running; a nested run on it would wait for itself.
thread_local const ThreadPool* running_in = nullptr;

void run_alone(std::int64_t count, TaskFn task, void* context) {
  for (std::int64_t i = 0; i < count; ++i) task(context, i);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  spins_ = threads <= usable_threads() ? kSpins : 0;  // more threads than cores: spinning would take a core from one that works
  for (int i = 1; i < threads; ++i) {
    try {
      workers_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {  // a limit on threads: go on with those that started
      break;
    } catch (const std::bad_alloc&) {
      break;
    }
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(std::int64_t count, TaskFn task, void* context) {
  if (count <= 1 || workers_.empty() || running_in == this) {
    run_alone(count, task, context);
    return;
  }
  const std::lock_guard one_caller(callers_);
  task_ = task;
  context_ = context;
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  open_.store(true);
  generation_.fetch_add(1);
  if (sleepers_.load() > 0) {
    { const std::lock_guard lock(mutex_); }  // a worker between its last look and its sleep holds this
    wake_.notify_all();
  }
  const ThreadPool* const outer = running_in;
  running_in = this;
  help();
  running_in = outer;
  open_.store(false);
  for (int spin = 0; inside_.load() != 0; ++spin) {
    if (spin < spins_) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::help() {
  const std::int64_t count = count_;
  for (std::int64_t i = next_.fetch_add(1); i < count; i = next_.fetch_add(1)) task_(context_, i);
}

// False when the pool ends.
bool ThreadPool::await_job(std::uint64_t seen) {
  const auto moved = [&] { return generation_.load() != seen || stop_.load(); };
  for (int spin = 0; spin < spins_ && !moved(); ++spin) relax();
  if (!moved()) {
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, moved);
    sleepers_.fetch_sub(1);
  }
  return !stop_.load();
}

void ThreadPool::work() {
  running_in = this;
  std::uint64_t seen = 0;
  while (await_job(seen)) {
    seen = generation_.load();
    inside_.fetch_add(1);
    if (open_.load()) help();
    inside_.fetch_sub(1);
  }
}

int usable_threads() {
  // The mask of a machine with more CPUs than a set can name needs a larger set: the call says so with EINVAL.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t* const set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
    const int failed = sched_getaffinity(0, bytes, set);
    const int error = failed != 0 ? errno : 0;
    const int count = failed != 0 ? 0 : CPU_COUNT_S(bytes, set);
    CPU_FREE(set);
    if (count > 0) return count;
    if (error != EINVAL) break;
  }
  const unsigned machine = std::thread::hardware_concurrency();
  return machine > 0 ? static_cast<int>(machine) : 1;
}

}  // namespace billfish
