// SPDX-License-Identifier: Apache-2.0
// AWQ "gemm" checkpoints: codes int32 [k, n / 8] and zeros int32 [groups, n / 8], 4-bit, eight columns a word, interleaved:
//
//   bit      28  24  20  16  12   8   4   0
//   column    7   5   3   1   6   4   2   0      (+ 8 * word)
//
// The same interleave as Marlin's zeros, but of neighbouring columns. n is a multiple of 8.
#pragma once

#include "layout/marlin_zeros.hpp"

namespace billfish::layout {

BILLFISH_HD constexpr std::int64_t awq_row_words(std::int64_t n) { return n / 8; }

// Row k of the codes, or group k of the zeros.
BILLFISH_HD constexpr Place awq_code(std::int64_t k, std::int64_t n, std::int64_t columns) {
  return {k * awq_row_words(columns) + n / 8, 4 * interleave8(static_cast<int>(n % 8))};
}
BILLFISH_HD constexpr Element awq_element(std::int64_t word, int shift, std::int64_t columns) {
  return {word / awq_row_words(columns), word % awq_row_words(columns) * 8 + deinterleave8(shift / 4)};
}

namespace awq_proof {

static_assert(covers_exactly<9>(4, 3, 24, [](int k, int n) { return awq_code(k, n, 24); }));
static_assert(inverts(
    3, 24, [](int k, int n) { return awq_code(k, n, 24); }, [](Place p) { return awq_element(p.word, p.shift, 24); }));
static_assert(awq_code(1, 9, 24) == Place{4, 16} && awq_code(0, 2, 24) == Place{0, 4});

}  // namespace awq_proof
}  // namespace billfish::layout
