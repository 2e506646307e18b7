// SPDX-License-Identifier: Apache-2.0
// How many distinct copies of a working set defeat the caches. Called by bench.
#pragma once

#include <cstdint>

#include "core/integers.hpp"

namespace billfish::measure {

// Copies of `bytes_each` that together span `touch_bytes`, at least `minimum`. A call of copy i then finds nothing that the
// call of copy i - copies left behind, in any cache smaller than touch_bytes - bytes_each.
constexpr std::int64_t copies_to_touch(std::int64_t touch_bytes, std::int64_t bytes_each, std::int64_t minimum) {
  if (bytes_each <= 0) return minimum;
  const std::int64_t copies = ceil_div(touch_bytes, bytes_each);
  return copies > minimum ? copies : minimum;
}

constexpr std::int64_t kCpuTouchBytes = 165'000'000;   // five times the largest last-level cache that we measured on
constexpr std::int64_t kCudaTouchBytes = 320'000'000;  // more than five times the L2 of an H200 (60 MB)

}  // namespace billfish::measure
