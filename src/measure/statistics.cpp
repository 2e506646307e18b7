// SPDX-License-Identifier: Apache-2.0
// See statistics.hpp.
#include "measure/statistics.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>

namespace billfish::measure {
namespace {

double quantile(std::span<const double> sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const std::size_t below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  const double fraction = place - static_cast<double>(below);
  return sorted[below] + fraction * (sorted[above] - sorted[below]);
}

}  // namespace

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Summary summarize(std::span<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  Summary summary;
  summary.median = quantile(values, 0.5);
  summary.p10 = quantile(values, 0.1);
  summary.p90 = quantile(values, 0.9);
  summary.min = values.front();
  summary.max = values.back();
  summary.samples = static_cast<std::int64_t>(values.size());
  return summary;
}

double geometric_mean(std::span<const double> values) {
  if (values.empty()) return 0;
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return std::exp(sum / static_cast<double>(values.size()));
}

}  // namespace billfish::measure
