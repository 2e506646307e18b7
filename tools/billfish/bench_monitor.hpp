// SPDX-License-Identifier: Apache-2.0
// The device's clock, power and throttle reasons while something is being timed, sampled by a thread. Called by bench_cuda.cpp and
// gpu_benchmark.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace billfish::cli {

struct Conditions {
  double clock_mhz = 0, power_w = 0;
  std::string throttle;  // every reason seen while the clock was lowered
};

// Waits, a second at most, until the driver has forgotten the reasons of what ran earlier.
void settle(int device);

class Monitor {
 public:
  explicit Monitor(int device);  // begins to sample
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;
  ~Monitor();
  Conditions stop();  // medians of the later half: the steady state

 private:
  int device_;
  double top_mhz_ = 0;  // the clock of a device that nothing holds back
  std::atomic<bool> stop_{false};
  std::vector<double> clocks_, powers_;
  std::vector<std::uint64_t> reasons_;
  std::thread thread_;
};

}  // namespace billfish::cli
