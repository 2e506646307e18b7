// SPDX-License-Identifier: Apache-2.0
// Integer maths that cannot overflow silently, and the two roundings that layouts are made of. All values are >= 0.
#pragma once

#include <cstdint>
#include <optional>

#if defined(__CUDACC__)
#define BILLFISH_HD __host__ __device__
#else
#define BILLFISH_HD
#endif

namespace billfish {

BILLFISH_HD constexpr std::int64_t ceil_div(std::int64_t value, std::int64_t by) { return value / by + (value % by != 0); }
BILLFISH_HD constexpr std::int64_t round_up(std::int64_t value, std::int64_t to) { return ceil_div(value, to) * to; }

constexpr std::optional<std::int64_t> checked_multiply(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
constexpr std::optional<std::int64_t> checked_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

}  // namespace billfish
