// SPDX-License-Identifier: Apache-2.0
// Division by a number that is known long before the dividend: a multiplication and a shift, where a GPU's division is twenty instructions.
#pragma once

#include <bit>
#include <cstdint>

#include "core/integers.hpp"

namespace billfish {

// Exact for dividends below 2^31: the multiplier is less than 1 too large, which makes the quotient less than dividend / 2^shift too large,
// and that is less than 1 / number, what is missing to the next one at least.
struct Divisor {
  std::uint32_t multiplier = 0;
  int shift = 0;

  static constexpr Divisor by(std::uint32_t number) {  // from 1 to 2^31
    const int shift = 31 + std::bit_width(number - 1);
    return {static_cast<std::uint32_t>(((std::uint64_t{1} << shift) + number - 1) / number), shift};
  }
};

BILLFISH_HD constexpr std::uint32_t operator/(std::uint32_t dividend, Divisor divisor) {
  return static_cast<std::uint32_t>(std::uint64_t{dividend} * divisor.multiplier >> divisor.shift);
}

}  // namespace billfish
