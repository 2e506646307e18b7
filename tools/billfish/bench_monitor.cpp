// SPDX-License-Identifier: Apache-2.0
#include "bench_monitor.hpp"

#include <algorithm>
#include <chrono>

#include "billfish/billfish_tools.h"

namespace billfish::cli {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(8);
constexpr auto kMostSettling = std::chrono::seconds(1);
// Reasons outlive their cause in the driver; one that stands beside the full clock is of earlier work.
constexpr double kLowered = 0.99;

double median_of_later_half(const std::vector<double>& samples) {
  if (samples.empty()) return 0;
  std::vector<double> later(samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2), samples.end());
  std::nth_element(later.begin(), later.begin() + static_cast<std::ptrdiff_t>(later.size() / 2), later.end());
  return later[later.size() / 2];
}

bool has_reason(std::uint64_t mask) {
  char text[256] = "";
  return billfish_tools_cuda_throttle_text(mask, text, sizeof text) == BILLFISH_OK && *text != '\0';
}

}  // namespace

void settle(int device) {
  billfish_cuda_telemetry telemetry = BILLFISH_CUDA_TELEMETRY_INIT;
  const auto latest = std::chrono::steady_clock::now() + kMostSettling;
  while (billfish_tools_cuda_telemetry(device, &telemetry) == BILLFISH_OK && has_reason(telemetry.throttle) &&
         std::chrono::steady_clock::now() < latest) {
    std::this_thread::sleep_for(kInterval);
  }
}

Monitor::Monitor(int device) : device_(device) {
  billfish_cuda_facts facts = BILLFISH_CUDA_FACTS_INIT;
  if (billfish_tools_cuda_facts(device, &facts) == BILLFISH_OK) top_mhz_ = facts.clock_mhz;
  thread_ = std::thread([this] {
    while (!stop_.load()) {
      billfish_cuda_telemetry telemetry = BILLFISH_CUDA_TELEMETRY_INIT;
      if (billfish_tools_cuda_telemetry(device_, &telemetry) != BILLFISH_OK || telemetry.clock_mhz == 0) return;
      clocks_.push_back(telemetry.clock_mhz);
      powers_.push_back(telemetry.power_w);
      reasons_.push_back(telemetry.throttle);
      std::this_thread::sleep_for(kInterval);
    }
  });
}

Monitor::~Monitor() { stop(); }

Conditions Monitor::stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  Conditions conditions;
  conditions.clock_mhz = median_of_later_half(clocks_);
  conditions.power_w = median_of_later_half(powers_);
  std::uint64_t mask = 0;
  for (std::size_t i = reasons_.size() / 2; i < reasons_.size(); ++i) {
    if (top_mhz_ <= 0 || clocks_[i] < kLowered * top_mhz_) mask |= reasons_[i];
  }
  char text[256] = "";
  if (billfish_tools_cuda_throttle_text(mask, text, sizeof text) == BILLFISH_OK) conditions.throttle = text;
  return conditions;
}

}  // namespace billfish::cli
