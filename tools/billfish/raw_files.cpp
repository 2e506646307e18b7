// SPDX-License-Identifier: Apache-2.0
#include "raw_files.hpp"

#include <bit>
#include <cmath>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "files.hpp"

namespace billfish::cli {
namespace {

// On the way to f16: what f32 cannot hold ends in an odd bit, as no f16 does and nothing halfway between two, so that rounding it again is
// rounding the value itself.
float to_odd(double value) {
  const float nearest = static_cast<float>(value);
  if (nearest == value) return nearest;
  const auto bits = std::bit_cast<std::uint32_t>(nearest);
  return std::bit_cast<float>((std::abs(nearest) > std::abs(value) ? bits - 1 : bits) | 1u);
}

}  // namespace

RawNames raw_names(const std::string& layer) {
  const std::string last = layer.substr(layer.find_last_of("./") + 1);  // names come from files: none may lead out of the folder
  return {last + "_qweight.bin", last + "_scales.bin", last + "_scales_percolumn.bin"};
}

std::vector<std::byte> read_exactly(const std::string& path, std::int64_t expected, const std::string& shape, const std::string& hint) {
  const std::int64_t size = file_size(path);
  if (size != expected) {
    fail(kBadInput, "{} has {} bytes where {} needs {}{}", path, size, shape, expected, hint.empty() ? "" : "; " + hint);
  }
  return read_file(path);
}

void refuse_not_finite(const std::string& path, const std::vector<std::byte>& scales, std::int64_t n) {
  std::vector<float> values(scales.size() / 2);
  billfish_tools_to_f32(scales.data(), BILLFISH_F16, values.data(), static_cast<std::int64_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    const auto at = static_cast<std::int64_t>(i);
    fail(kBadInput, "{}: the scale of group {}, column {} is {}; scales must be finite", path, at / n, at % n,
         std::isnan(values[i]) ? "NaN" : "infinite");
  }
}

std::vector<std::uint16_t> mean_scales(const std::uint16_t* scales, std::int64_t groups, std::int64_t n) {
  std::vector<double> sums(static_cast<std::size_t>(n), 0.0);
  std::vector<float> row(sums.size());
  for (std::int64_t g = 0; g < groups; ++g) {
    billfish_tools_to_f32(scales + g * n, BILLFISH_F16, row.data(), n);
    for (std::int64_t j = 0; j < n; ++j) sums[j] += row[j];
  }
  for (std::int64_t j = 0; j < n; ++j) row[j] = to_odd(sums[j] / static_cast<double>(groups));
  std::vector<std::uint16_t> means(sums.size());
  billfish_tools_from_f32(row.data(), BILLFISH_F16, means.data(), n);
  return means;
}

}  // namespace billfish::cli
