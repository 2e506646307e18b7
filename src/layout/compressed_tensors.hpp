// SPDX-License-Identifier: Apache-2.0
// compressed-tensors "pack-quantized" checkpoints, everything by output row: codes int32 [n, ceil(k * bits / 32)], packed along k; scales
// [n, groups]; zeros int32 [ceil(n * bits / 32), groups], packed along n. Fields hold the signed value + 2^(bits-1), which is our
// unsigned code (and zero) already.
//
//   codes:  row n   | word 0: k = 7 .. 0 | word 1: k = 15 .. 8 | ... | last word, part full when k % 8 != 0 |
//   zeros:  word (r, g)   | n = 8r+7 | ... | 8r+1 | 8r |
#pragma once

#include "layout/place.hpp"

namespace billfish::layout {

BILLFISH_HD constexpr std::int64_t ct_code_row_words(int bits, std::int64_t rows) { return ceil_div(rows * bits, 32); }
// `rows` is the matrix's k.
BILLFISH_HD constexpr Place ct_code(int bits, std::int64_t k, std::int64_t n, std::int64_t rows) {
  const int fields = 32 / bits;
  return {n * ct_code_row_words(bits, rows) + k / fields, static_cast<int>(k % fields) * bits};
}
BILLFISH_HD constexpr Element ct_code_element(int bits, std::int64_t word, int shift, std::int64_t rows) {
  const std::int64_t row_words = ct_code_row_words(bits, rows);
  return {word % row_words * (32 / bits) + shift / bits, word / row_words};
}

BILLFISH_HD constexpr Place ct_zero(int bits, std::int64_t group, std::int64_t n, std::int64_t groups) {
  const int fields = 32 / bits;
  return {n / fields * groups + group, static_cast<int>(n % fields) * bits};
}
BILLFISH_HD constexpr Element ct_zero_element(int bits, std::int64_t word, int shift, std::int64_t groups) {
  return {word % groups, word / groups * (32 / bits) + shift / bits};
}

BILLFISH_HD constexpr std::int64_t ct_scale(std::int64_t group, std::int64_t n, std::int64_t groups) { return n * groups + group; }

namespace ct_proof {

static_assert(covers_exactly<10>(4, 16, 5, [](int k, int n) { return ct_code(4, k, n, 16); }));
static_assert(covers_exactly<20>(8, 16, 5, [](int k, int n) { return ct_code(8, k, n, 16); }));
static_assert(covers_exactly<6>(4, 3, 16, [](int g, int n) { return ct_zero(4, g, n, 3); }));
static_assert(covers_exactly<12>(8, 3, 16, [](int g, int n) { return ct_zero(8, g, n, 3); }));
// k = 18: part-full last words.
static_assert(inverts(
    18, 5, [](int k, int n) { return ct_code(4, k, n, 18); }, [](Place p) { return ct_code_element(4, p.word, p.shift, 18); }));
static_assert(inverts(
    18, 5, [](int k, int n) { return ct_code(8, k, n, 18); }, [](Place p) { return ct_code_element(8, p.word, p.shift, 18); }));
static_assert(inverts(
    3, 18, [](int g, int n) { return ct_zero(4, g, n, 3); }, [](Place p) { return ct_zero_element(4, p.word, p.shift, 3); }));
static_assert(inverts(
    3, 18, [](int g, int n) { return ct_zero(8, g, n, 3); }, [](Place p) { return ct_zero_element(8, p.word, p.shift, 3); }));

}  // namespace ct_proof
}  // namespace billfish::layout
