// SPDX-License-Identifier: Apache-2.0
// GPTQ checkpoints: codes int32 [ceil(k * bits / 32), n], packed along k; zeros int32 [groups, ceil(n * bits / 32)], packed along n;
// scales [groups, n]. Fields from the lowest bit up, 8 (4-bit) or 4 (8-bit) to a word.
//
//   codes:  word (r, n)   | k = 8r+7 | ... | 8r+1 | 8r |      zeros:  word (g, c)   | n = 8c+7 | ... | 8c+1 | 8c |
//
// Version 1 stores zeros minus one, and writers subtract from the whole word: a zero of 0 borrows from the field above it. So a reader
// adds the constant to the whole word, modulo 2^32, before it splits it, and a writer subtracts the same way.
#pragma once

#include "layout/place.hpp"

namespace billfish::layout {

BILLFISH_HD constexpr Place gptq_code(int bits, std::int64_t k, std::int64_t n, std::int64_t columns) {
  const int fields = 32 / bits;
  return {k / fields * columns + n, static_cast<int>(k % fields) * bits};
}
BILLFISH_HD constexpr Element gptq_code_element(int bits, std::int64_t word, int shift, std::int64_t columns) {
  return {word / columns * (32 / bits) + shift / bits, word % columns};
}

BILLFISH_HD constexpr std::int64_t gptq_zero_row_words(int bits, std::int64_t columns) { return ceil_div(columns * bits, 32); }
BILLFISH_HD constexpr Place gptq_zero(int bits, std::int64_t group, std::int64_t n, std::int64_t columns) {
  const int fields = 32 / bits;
  return {group * gptq_zero_row_words(bits, columns) + n / fields, static_cast<int>(n % fields) * bits};
}
BILLFISH_HD constexpr Element gptq_zero_element(int bits, std::int64_t word, int shift, std::int64_t columns) {
  const std::int64_t row_words = gptq_zero_row_words(bits, columns);
  return {word / row_words, word % row_words * (32 / bits) + shift / bits};
}

// One in every field.
BILLFISH_HD constexpr std::uint32_t gptq_v1_offset(int bits) { return bits == 4 ? 0x11111111u : 0x01010101u; }
BILLFISH_HD constexpr std::uint32_t gptq_zeros_from_v1(int bits, std::uint32_t stored) { return stored + gptq_v1_offset(bits); }
BILLFISH_HD constexpr std::uint32_t gptq_zeros_to_v1(int bits, std::uint32_t zeros) { return zeros - gptq_v1_offset(bits); }

namespace gptq_proof {

static_assert(covers_exactly<10>(4, 16, 5, [](int k, int n) { return gptq_code(4, k, n, 5); }));
static_assert(covers_exactly<20>(8, 16, 5, [](int k, int n) { return gptq_code(8, k, n, 5); }));
static_assert(covers_exactly<6>(4, 3, 16, [](int g, int n) { return gptq_zero(4, g, n, 16); }));
static_assert(covers_exactly<12>(8, 3, 16, [](int g, int n) { return gptq_zero(8, g, n, 16); }));
static_assert(inverts(
    16, 5, [](int k, int n) { return gptq_code(4, k, n, 5); }, [](Place p) { return gptq_code_element(4, p.word, p.shift, 5); }));
static_assert(inverts(
    16, 5, [](int k, int n) { return gptq_code(8, k, n, 5); }, [](Place p) { return gptq_code_element(8, p.word, p.shift, 5); }));
// 18 columns: a row of zeros ends in a part-full word.
static_assert(inverts(
    3, 18, [](int g, int n) { return gptq_zero(4, g, n, 18); }, [](Place p) { return gptq_zero_element(4, p.word, p.shift, 18); }));
static_assert(inverts(
    3, 18, [](int g, int n) { return gptq_zero(8, g, n, 18); }, [](Place p) { return gptq_zero_element(8, p.word, p.shift, 18); }));
static_assert(gptq_zeros_from_v1(4, 0x77777777u) == 0x88888888u && gptq_zeros_from_v1(8, 0x7f7f7f7fu) == 0x80808080u);
static_assert(gptq_zeros_to_v1(4, 0x00000050u) == 0xeeeeef3fu);  // the borrow: 5 - 1 would be 4
static_assert(gptq_zeros_from_v1(4, gptq_zeros_to_v1(4, 0x0f00a050u)) == 0x0f00a050u);

}  // namespace gptq_proof
}  // namespace billfish::layout
