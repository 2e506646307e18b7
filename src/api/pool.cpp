// SPDX-License-Identifier: Apache-2.0
// billfish_pool_*: a ThreadPool behind an opaque handle.
#include "api/arguments.hpp"
#include "core/threads.hpp"

// A machine has fewer; a larger number is a mistake that would otherwise show as an exhausted address space.
constexpr int kMostThreads = 4096;

struct billfish_pool {
  explicit billfish_pool(int count) : threads(count) {}
  billfish::ThreadPool threads;
};

namespace billfish::api {

Status read_pool(const billfish_pool* pool, ThreadPool*& out) {
  out = const_cast<ThreadPool*>(&pool->threads);
  return {};
}

}  // namespace billfish::api

extern "C" {

billfish_status billfish_pool_create(int threads, billfish_pool** out) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    if (out == nullptr) return api::null_argument("out");
    *out = nullptr;
    if (threads < 0 || threads > kMostThreads) {
      return invalid_argument("threads is " + std::to_string(threads) + "; supported are 0 (one per core) to " +
                              std::to_string(kMostThreads));
    }
    *out = new billfish_pool(threads == 0 ? usable_threads() : threads);
    return {};
  });
}

void billfish_pool_destroy(billfish_pool* pool) { delete pool; }

int billfish_pool_threads(const billfish_pool* pool) { return pool == nullptr ? 1 : pool->threads.threads(); }

}  // extern "C"
