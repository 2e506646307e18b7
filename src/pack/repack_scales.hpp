// SPDX-License-Identifier: Apache-2.0
// 16-bit scales of a GPTQ checkpoint, [groups, n], in Marlin order: whole tiles only, no padding. Called by api/repack.cpp.
#pragma once

#include <cstdint>

#include "layout/marlin_scales.hpp"

namespace billfish::pack {

inline void repack_scales(const std::uint16_t* source, std::uint16_t* target, std::int64_t groups, std::int64_t n, bool per_column) {
  for (std::int64_t group = 0; group < groups; ++group) {
    for (std::int64_t column = 0; column < n; ++column) {
      target[group * n + layout::marlin_scale(per_column, column)] = source[group * n + column];
    }
  }
}

}  // namespace billfish::pack
