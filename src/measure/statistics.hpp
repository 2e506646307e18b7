// SPDX-License-Identifier: Apache-2.0
// The clock, and what a set of timings says. Called by bench, demo (through the ABI) and by users' own timing; calls nothing.
#pragma once

#include <cstdint>
#include <span>

namespace billfish::measure {

double now();  // seconds, monotonic

struct Summary {
  double median = 0, p10 = 0, p90 = 0, min = 0, max = 0;
  std::int64_t samples = 0;
};
// Order statistics, linearly interpolated between neighbours. Sorts the values in place; all zero if there are none.
Summary summarize(std::span<double> values);

// Geometric mean of positive values; 0 if there are none.
double geometric_mean(std::span<const double> values);

}  // namespace billfish::measure
