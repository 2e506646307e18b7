// SPDX-License-Identifier: Apache-2.0
// Marlin bytes of the codes: 16 (k) x 64 (n) tiles, each 128 words (4-bit) or 256 words (8-bit) in a row, tiles of one k block side by
// side along n. Called by pack/, reference/, cpu/ and cuda/.
//
//   one k block (16 rows):  | tile n 0..63 | tile n 64..127 | ...    2 * padded_n words (4-bit), 4 * padded_n (8-bit)
//
//   a tile, 4-bit: lane l holds words 4l .. 4l+3 (one 16-byte load), word w of the four belongs to columns 16w .. 16w+15:
//
//            columns 0-15      16-31      32-47      48-63
//   lane 0  | word 0        | word 1   | word 2   | word 3   |     lane = 4 * (n % 8) + (k % 8) / 2:
//   lane 1  | word 4        | word 5   | ...                       a lane owns column n % 8 (and its twin, + 8) of each 16,
//    ...                                                           and the k pairs (2j, 2j+1) and (2j+8, 2j+9), j = lane % 4
//   lane 31 | word 124      | ...               | word 127  |
//
//   the eight codes of a 4-bit word, by bit (n8 = n % 8, j = lane % 4):
//
//   bit   31     28     24     20     16     12      8      4      0
//        | 2j+9  | 2j+1  | 2j+9  | 2j+1  | 2j+8  | 2j    | 2j+8  | 2j    |   k % 16
//        | n8+8  | n8+8  | n8    | n8    | n8+8  | n8+8  | n8    | n8    |   n % 16
//
//   so the halves of a word are the even and the odd k: masking with 0x000f000f gives the k pair (2j, 2j+1) of column n8 as two 16-bit
//   lanes, and the four masks in turn give registers a0, a2, a1, a3 of the A operand of mma.m16n8k16 with weights transposed as A.
//
//   8-bit: lane l holds words 8l .. 8l+7; words 2w and 2w+1 are columns n8 and n8+8 of columns 16w .. 16w+15; its four bytes, from
//   the lowest: k = 2j, 2j+8, 2j+1, 2j+9.
#pragma once

#include "layout/place.hpp"

namespace billfish::layout {

constexpr int kTileK = 16;
constexpr int kTileN = 64;

BILLFISH_HD constexpr int marlin_tile_words(int bits) { return 32 * bits; }  // kTileK * kTileN * bits / 32
// Words in one k block, that is, in one row of the int32 [padded_k / 16, padded_n * bits / 2] array.
BILLFISH_HD constexpr std::int64_t marlin_row_words(int bits, std::int64_t padded_n) { return padded_n * bits / 2; }
// First word of the tile that holds rows 16 * k_tile .. and columns 64 * n_tile ..
BILLFISH_HD constexpr std::int64_t marlin_tile_begin(int bits, std::int64_t k_tile, std::int64_t n_tile, std::int64_t padded_n) {
  return k_tile * marlin_row_words(bits, padded_n) + n_tile * marlin_tile_words(bits);
}

// Within a tile: kk in [0, 16), nn in [0, 64).
BILLFISH_HD constexpr int marlin_word_in_tile(int bits, int kk, int nn) {
  const int warp = nn / 16;
  const int half = nn % 16 / 8;
  const int lane = nn % 8 * 4 + kk % 8 / 2;
  return bits == 4 ? lane * 4 + warp : lane * 8 + 2 * warp + half;
}
BILLFISH_HD constexpr int marlin_shift_in_tile(int bits, int kk, int nn) {
  const int odd = kk % 2;
  const int upper = kk / 8;
  const int half = nn % 16 / 8;
  return bits == 4 ? 16 * odd + 8 * half + 4 * upper : 16 * odd + 8 * upper;
}

BILLFISH_HD constexpr Place marlin_code(int bits, std::int64_t k, std::int64_t n, std::int64_t padded_n) {
  const int kk = static_cast<int>(k % kTileK);
  const int nn = static_cast<int>(n % kTileN);
  return {marlin_tile_begin(bits, k / kTileK, n / kTileN, padded_n) + marlin_word_in_tile(bits, kk, nn),
          marlin_shift_in_tile(bits, kk, nn)};
}

// The element whose code begins at `shift` of `word`.
BILLFISH_HD constexpr Element marlin_code_element(int bits, std::int64_t word, int shift, std::int64_t padded_n) {
  const std::int64_t row_words = marlin_row_words(bits, padded_n);
  const int in_tile = static_cast<int>(word % row_words % marlin_tile_words(bits));
  const int lane = in_tile / bits;  // a lane owns `bits` words of a tile: 4 or 8
  const int warp = bits == 4 ? in_tile % 4 : in_tile % 8 / 2;
  const int half = bits == 4 ? shift / 8 % 2 : in_tile % 2;
  const int upper = bits == 4 ? shift / 4 % 2 : shift / 8 % 2;
  const int kk = upper * 8 + lane % 4 * 2 + shift / 16;
  const int nn = warp * 16 + half * 8 + lane / 4;
  return {word / row_words * kTileK + kk, word % row_words / marlin_tile_words(bits) * kTileN + nn};
}

namespace marlin_weights_proof {

constexpr int kColumns = 128;  // two tiles side by side and two above each other: the smallest matrix with every carry
static_assert(covers_exactly<128>(4, 16, 64, [](int k, int n) { return marlin_code(4, k, n, 64); }));
static_assert(covers_exactly<256>(8, 16, 64, [](int k, int n) { return marlin_code(8, k, n, 64); }));
static_assert(covers_exactly<512>(4, 32, 128, [](int k, int n) { return marlin_code(4, k, n, kColumns); }));
static_assert(covers_exactly<1024>(8, 32, 128, [](int k, int n) { return marlin_code(8, k, n, kColumns); }));
static_assert(inverts(
    32, 128, [](int k, int n) { return marlin_code(4, k, n, kColumns); },
    [](Place p) { return marlin_code_element(4, p.word, p.shift, kColumns); }));
static_assert(inverts(
    32, 128, [](int k, int n) { return marlin_code(8, k, n, kColumns); },
    [](Place p) { return marlin_code_element(8, p.word, p.shift, kColumns); }));
// The picture: lane 5 = column 1, j = 1; its word of columns 16-31.
static_assert(marlin_code(4, 2, 17, 64) == Place{21, 0} && marlin_code(4, 10, 17, 64) == Place{21, 4});
static_assert(marlin_code(4, 2, 25, 64) == Place{21, 8} && marlin_code(4, 11, 25, 64) == Place{21, 28});
static_assert(marlin_code(8, 2, 17, 64) == Place{42, 0} && marlin_code(8, 11, 25, 64) == Place{43, 24});

}  // namespace marlin_weights_proof
}  // namespace billfish::layout
