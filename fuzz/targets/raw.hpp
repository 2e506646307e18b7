// SPDX-License-Identifier: Apache-2.0
// First line: columns and groups, two numbers that the command line gives; the rest: a headerless file of f16 scales [groups, columns].
//
// A file is accepted if it has exactly the promised bytes and each of its scales is finite. The mean of a column is then held against whole
// numbers: it lies between the column's smallest and largest scale, and no f16 is nearer to the exact one.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../../fuzz/targets/files.hpp"
#include "../../fuzz/targets/refused.hpp"
#include "../../tools/billfish/raw_files.hpp"
#include "core/half.hpp"

namespace billfish::fuzz {

constexpr std::int64_t kExactGroups = 8192;  // sums of so many are exact in double, whatever the scales

// A finite f16 in units of 2^-24, the smallest one: a whole number below 2^40.
inline std::int64_t units_of(unsigned half) {
  return static_cast<std::int64_t>(std::ldexp(f16_to_f32(static_cast<std::uint16_t>(half)), 24));
}

inline void check_mean(unsigned mean, const std::uint16_t* column, std::int64_t groups, std::int64_t n) {
  constexpr unsigned kSign = 0x8000, kInfinity = 0x7c00;
  if ((mean & kInfinity) == kInfinity) __builtin_trap();
  std::int64_t sum = 0, smallest = units_of(column[0]), largest = smallest;
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t scale = units_of(column[g * n]);
    sum += scale;
    smallest = std::min(smallest, scale);
    largest = std::max(largest, scale);
  }
  if (units_of(mean) < smallest || units_of(mean) > largest) __builtin_trap();
  if (groups > kExactGroups) return;
  const auto distance = [&](unsigned half) { return std::abs(units_of(half) * groups - sum); };  // times groups, so that it is whole
  const bool zero = (mean & ~kSign) == 0;
  for (const unsigned next : {zero ? kSign + 1 : mean - 1, zero ? 1 : mean + 1}) {
    if ((next & kInfinity) == kInfinity) continue;
    const bool as_near = distance(next) == distance(mean);
    if (distance(next) < distance(mean) || (as_near && mean % 2 != 0)) __builtin_trap();  // of two that are as near, the even one
  }
}

// Whether the file was accepted. Traps on a broken promise.
inline bool raw(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = input.find('\n');
  if (line == std::string_view::npos) return false;
  const std::string_view content = input.substr(line + 1);
  const char* const end = input.data() + line;  // the newline: no number goes on behind it
  std::int64_t n = 0, groups = 0, bytes = 0;
  const auto columns = std::from_chars(input.data(), end, n);
  if (columns.ec != std::errc() || *columns.ptr != ' ') return false;
  if (std::from_chars(columns.ptr + 1, end, groups).ec != std::errc()) return false;
  // Commands refuse these before they open a file.
  if (n < 1 || groups < 1 || __builtin_mul_overflow(n, groups, &bytes) || __builtin_mul_overflow(bytes, 2, &bytes)) return false;

  static const Folder folder;
  folder.write("scales.bin", content);
  const std::string path = folder / "scales.bin";
  std::vector<std::byte> scales;
  if (refused([&] { scales = cli::read_exactly(path, bytes, "f16", "a hint"); })) return false;
  if (static_cast<std::int64_t>(scales.size()) != bytes || !std::ranges::equal(scales, std::as_bytes(std::span(content)))) __builtin_trap();

  const auto* halves = reinterpret_cast<const std::uint16_t*>(scales.data());
  const bool finite = std::all_of(halves, halves + groups * n, [](std::uint16_t half) { return std::isfinite(f16_to_f32(half)); });
  if (refused([&] { cli::refuse_not_finite(path, scales, n); }) == finite) __builtin_trap();
  if (!finite) return false;
  const std::vector<std::uint16_t> means = cli::mean_scales(halves, groups, n);
  if (static_cast<std::int64_t>(means.size()) != n) __builtin_trap();
  for (std::int64_t j = 0; j < n; ++j) check_mean(means[j], halves + j, groups, n);
  return true;
}

}  // namespace billfish::fuzz
