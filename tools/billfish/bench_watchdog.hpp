// SPDX-License-Identifier: Apache-2.0
// Ends the process when one step of a benchmark does not: a kernel that never ends would otherwise hold its device for ever.
// Called by bench_cuda.cpp, bench_graph.cpp and tune_cuda.cpp.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace billfish::cli {

class Watchdog {
 public:
  // Unless destroyed within `seconds`: one line on stderr that says what hung, and exit code kDevice.
  Watchdog(int seconds, std::string what);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace billfish::cli
