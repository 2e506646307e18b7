// SPDX-License-Identifier: Apache-2.0
// See panel.hpp.
#include "quantize/panel.hpp"

#include <cmath>
#include <cstring>
#include <string>

namespace billfish::quantize {
namespace {

constexpr std::int64_t kScanRows = 64;

// The largest magnitude of a row, or -1 if something in it is not finite. Bit patterns of magnitudes sort like the values.
float largest_of_row(const float* row, std::int64_t k) {
  std::uint32_t most = 0;
  for (std::int64_t i = 0; i < k; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, row + i, sizeof bits);
    most = std::max(most, bits & 0x7fffffffu);
  }
  if (most >= 0x7f800000u) return -1.0f;
  float value = 0;
  std::memcpy(&value, &most, sizeof value);
  return value;
}

}  // namespace

void gather_panel(const Weights& weights, std::int64_t first, std::int64_t rows, const std::int32_t* order, std::int64_t begin,
                  std::int64_t count, float factor, float* panel, std::int64_t ld) {
  constexpr std::int64_t kStep = 16;  // columns at once: a cache line of a row
  const std::int64_t there = std::min(rows, weights.n - first);
  for (std::int64_t c = 0; c < count; c += kStep) {
    const std::int64_t columns = std::min(kStep, count - c);
    for (std::int64_t r = 0; r < there; ++r) {
      const float* const row = weights.data + (first + r) * weights.ld;
      if (order == nullptr) {
        for (std::int64_t i = 0; i < columns; ++i) panel[(c + i) * ld + r] = row[begin + c + i] * factor;
      } else {
        for (std::int64_t i = 0; i < columns; ++i) panel[(c + i) * ld + r] = row[order[begin + c + i]] * factor;
      }
    }
    for (std::int64_t i = 0; there < rows && i < columns; ++i) std::fill(panel + (c + i) * ld + there, panel + (c + i) * ld + rows, 0.0f);
  }
}

Result<float> largest_weight(const Weights& weights, const Parallel& parallel) {
  const std::int64_t tasks = ceil_div(weights.n, kScanRows);
  std::vector<float> largest(static_cast<std::size_t>(tasks), 0.0f);
  const Status scanned = run_all(parallel, tasks, [&](std::int64_t task) -> Status {
    for (std::int64_t row = task * kScanRows; row < std::min(weights.n, (task + 1) * kScanRows); ++row) {
      const float* const at = weights.data + row * weights.ld;
      const float most = largest_of_row(at, weights.k);
      if (most < 0.0f) {
        std::int64_t column = 0;
        while (std::isfinite(at[column])) ++column;
        return bad_input("the weight of output " + std::to_string(row) + ", input " + std::to_string(column) + " is not finite");
      }
      float& so_far = largest[static_cast<std::size_t>(task)];
      so_far = std::max(so_far, most);
    }
    return {};
  });
  if (!scanned.ok()) return scanned;
  return *std::max_element(largest.begin(), largest.end());
}

}  // namespace billfish::quantize
