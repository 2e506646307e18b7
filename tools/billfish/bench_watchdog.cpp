// SPDX-License-Identifier: Apache-2.0
#include "bench_watchdog.hpp"

#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "errors.hpp"

namespace billfish::cli {

Watchdog::Watchdog(int seconds, std::string what) {
  thread_ = std::thread([this, seconds, what = std::move(what)] {
    std::unique_lock lock(mutex_);
    if (ended_.wait_for(lock, std::chrono::seconds(seconds), [this] { return done_; })) return;
    std::fflush(stdout);
    say(fmt::format("billfish: {} did not end within {} s: the device hangs; what was measured before is kept\n", what, seconds));
    std::_Exit(kDevice);  // no destructors: they would wait for the device
  });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  ended_.notify_one();
  thread_.join();
}

}  // namespace billfish::cli
