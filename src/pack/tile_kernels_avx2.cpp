// SPDX-License-Identifier: Apache-2.0
// The tile kernels with AVX2: transposing whole tiles in registers. Compiled with -mavx2; reached only through best_tile_kernels().
#include "pack/tile_loops.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace billfish::pack {
#if defined(__AVX2__)
namespace {

inline __m256i load8(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
inline void store8(void* at, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(at), v); }

// Four vectors of words, each half [a0 a1 a2 a3], [b0 ..], [c0 ..], [d0 ..] -> halves [a0 b0 c0 d0], [a1 b1 c1 d1], ...
inline void transpose4(__m256i (&v)[4]) {
  const __m256i ab_low = _mm256_unpacklo_epi32(v[0], v[1]), ab_high = _mm256_unpackhi_epi32(v[0], v[1]);
  const __m256i cd_low = _mm256_unpacklo_epi32(v[2], v[3]), cd_high = _mm256_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm256_unpacklo_epi64(ab_low, cd_low);
  v[1] = _mm256_unpackhi_epi64(ab_low, cd_low);
  v[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
  v[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
}

// From bytes [low half: column i, high half: column i + 4] to words: w[i] holds, per half, the words j = 0..3 of that column.
inline void weave_bytes(__m256i b0, __m256i b1, __m256i b2, __m256i b3, __m256i (&w)[4]) {
  const __m256i low01 = _mm256_unpacklo_epi8(b0, b1), high01 = _mm256_unpackhi_epi8(b0, b1);
  const __m256i low23 = _mm256_unpacklo_epi8(b2, b3), high23 = _mm256_unpackhi_epi8(b2, b3);
  w[0] = _mm256_unpacklo_epi16(low01, low23);
  w[1] = _mm256_unpackhi_epi16(low01, low23);
  w[2] = _mm256_unpacklo_epi16(high01, high23);
  w[3] = _mm256_unpackhi_epi16(high01, high23);
}

// The 16 bytes of lanes 4i + j and 4(i + 4) + j for j = 0..3: 64 bytes for column i, 64 for column i + 4.
inline void store_lanes4(std::uint32_t* target, int i, const __m256i (&lanes)[4]) {
  for (int half = 0; half < 2; ++half) {
    std::uint32_t* const at = target + (i + 4 * half) * 16;
    if (half == 0) {
      store8(at, _mm256_permute2x128_si256(lanes[0], lanes[1], 0x20));
      store8(at + 8, _mm256_permute2x128_si256(lanes[2], lanes[3], 0x20));
    } else {
      store8(at, _mm256_permute2x128_si256(lanes[0], lanes[1], 0x31));
      store8(at + 8, _mm256_permute2x128_si256(lanes[2], lanes[3], 0x31));
    }
  }
}

// See pack_column_pair4 for the picture; here eight columns at a time, and the four 16-column blocks are woven together at the end.
inline void pack_tile4(const char* strip, std::int64_t row_bytes, std::uint32_t* target) {
  const __m256i low_nibbles = _mm256_set1_epi8(0x0f);
  const auto low_of = [&](__m256i first, __m256i second) {
    return _mm256_or_si256(_mm256_and_si256(first, low_nibbles), _mm256_slli_epi32(_mm256_and_si256(second, low_nibbles), 4));
  };
  const auto high_of = [&](__m256i first, __m256i second) {
    return _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(first, 4), low_nibbles), _mm256_andnot_si256(low_nibbles, second));
  };
  __m256i words[4][4];  // [16-column block][i]
  for (int block = 0; block < 4; ++block) {
    const char* const x = strip + block * 64;
    const __m256i x0 = load8(x), y0 = load8(x + 32), x1 = load8(x + row_bytes), y1 = load8(x + row_bytes + 32);
    weave_bytes(low_of(x0, x1), low_of(y0, y1), high_of(x0, x1), high_of(y0, y1), words[block]);
  }
  for (int i = 0; i < 4; ++i) {
    __m256i lanes[4] = {words[0][i], words[1][i], words[2][i], words[3][i]};
    transpose4(lanes);
    store_lanes4(target, i, lanes);
  }
}

inline void pack_tile8(const char* strip, std::int64_t row_bytes, std::uint32_t* target) {
  __m256i words[8][4];  // [8-column block][i]
  for (int block = 0; block < 8; ++block) {
    const char* const x = strip + block * 32;
    const __m256i r0 = load8(x), r1 = load8(x + row_bytes), r2 = load8(x + 2 * row_bytes), r3 = load8(x + 3 * row_bytes);
    // Words j = 0, 1 of a column are the bytes of r0 and r2 in turn, j = 2, 3 those of r1 and r3.
    const __m256i low02 = _mm256_unpacklo_epi8(r0, r2), high02 = _mm256_unpackhi_epi8(r0, r2);
    const __m256i low13 = _mm256_unpacklo_epi8(r1, r3), high13 = _mm256_unpackhi_epi8(r1, r3);
    words[block][0] = _mm256_unpacklo_epi64(low02, low13);
    words[block][1] = _mm256_unpackhi_epi64(low02, low13);
    words[block][2] = _mm256_unpacklo_epi64(high02, high13);
    words[block][3] = _mm256_unpackhi_epi64(high02, high13);
  }
  for (int i = 0; i < 4; ++i) {
    __m256i first[4] = {words[0][i], words[1][i], words[2][i], words[3][i]};
    __m256i second[4] = {words[4][i], words[5][i], words[6][i], words[7][i]};
    transpose4(first);
    transpose4(second);
    for (int j = 0; j < 4; ++j) {
      store8(target + (i * 4 + j) * 8, _mm256_permute2x128_si256(first[j], second[j], 0x20));
      store8(target + ((i + 4) * 4 + j) * 8, _mm256_permute2x128_si256(first[j], second[j], 0x31));
    }
  }
}

void pack_avx2(int bits, const void* rows, std::int64_t row_bytes, std::uint32_t* target, std::int64_t tiles) {
  const char* strip = static_cast<const char*>(rows);
  for (std::int64_t tile = 0; tile < tiles; ++tile, strip += kStripColumns * 4, target += 32 * bits) {
    if (bits == 4) {
      pack_tile4(strip, row_bytes, target);
    } else {
      pack_tile8(strip, row_bytes, target);
    }
  }
}

// And back: weave_bytes undone is a turn of bytes within each word's column, and a turn of words.
inline void unweave_bytes(__m256i (&w)[4]) {
  const __m256i by_byte =
      _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (__m256i& v : w) v = _mm256_shuffle_epi8(v, by_byte);
  transpose4(w);
}

inline void unpack_tile4(const std::uint32_t* source, char* strip, std::int64_t row_bytes) {
  const __m256i low_nibbles = _mm256_set1_epi8(0x0f);
  __m256i words[4][4];  // [16-column block][i]
  for (int i = 0; i < 4; ++i) {
    const __m256i near0 = load8(source + i * 16), near1 = load8(source + i * 16 + 8);
    const __m256i far0 = load8(source + (i + 4) * 16), far1 = load8(source + (i + 4) * 16 + 8);
    __m256i lanes[4] = {_mm256_permute2x128_si256(near0, far0, 0x20), _mm256_permute2x128_si256(near0, far0, 0x31),
                        _mm256_permute2x128_si256(near1, far1, 0x20), _mm256_permute2x128_si256(near1, far1, 0x31)};
    transpose4(lanes);
    for (int block = 0; block < 4; ++block) words[block][i] = lanes[block];
  }
  for (int block = 0; block < 4; ++block) {
    unweave_bytes(words[block]);  // x low, y low, x high, y high: see unpack_column_pair4
    for (int pair = 0; pair < 2; ++pair) {
      const __m256i low = words[block][pair], high = words[block][pair + 2];
      char* const at = strip + block * 64 + pair * 32;
      store8(at, _mm256_or_si256(_mm256_and_si256(low, low_nibbles), _mm256_slli_epi32(_mm256_and_si256(high, low_nibbles), 4)));
      store8(at + row_bytes,
             _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(low, 4), low_nibbles), _mm256_andnot_si256(low_nibbles, high)));
    }
  }
}

inline void unpack_tile8(const std::uint32_t* source, char* strip, std::int64_t row_bytes) {
  const __m256i evens_first =
      _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  __m256i words[8][4];  // [8-column block][i]
  for (int i = 0; i < 4; ++i) {
    __m256i first[4], second[4];
    for (int j = 0; j < 4; ++j) {
      const __m256i near = load8(source + (i * 4 + j) * 8), far = load8(source + ((i + 4) * 4 + j) * 8);
      first[j] = _mm256_permute2x128_si256(near, far, 0x20);
      second[j] = _mm256_permute2x128_si256(near, far, 0x31);
    }
    transpose4(first);
    transpose4(second);
    for (int block = 0; block < 4; ++block) words[block][i] = first[block], words[block + 4][i] = second[block];
  }
  for (int block = 0; block < 8; ++block) {
    char* const at = strip + block * 32;
    const __m256i(&w)[4] = words[block];
    // Bytes of word rows 0 and 2 in turn, then of 1 and 3.
    const __m256i low02 = _mm256_shuffle_epi8(_mm256_unpacklo_epi64(w[0], w[1]), evens_first);
    const __m256i low13 = _mm256_shuffle_epi8(_mm256_unpackhi_epi64(w[0], w[1]), evens_first);
    const __m256i high02 = _mm256_shuffle_epi8(_mm256_unpacklo_epi64(w[2], w[3]), evens_first);
    const __m256i high13 = _mm256_shuffle_epi8(_mm256_unpackhi_epi64(w[2], w[3]), evens_first);
    store8(at, _mm256_unpacklo_epi64(low02, high02));
    store8(at + row_bytes, _mm256_unpacklo_epi64(low13, high13));
    store8(at + 2 * row_bytes, _mm256_unpackhi_epi64(low02, high02));
    store8(at + 3 * row_bytes, _mm256_unpackhi_epi64(low13, high13));
  }
}

void unpack_avx2(int bits, const std::uint32_t* source, void* rows, std::int64_t row_bytes, std::int64_t tiles) {
  char* strip = static_cast<char*>(rows);
  for (std::int64_t tile = 0; tile < tiles; ++tile, strip += kStripColumns * 4, source += 32 * bits) {
    if (bits == 4) {
      unpack_tile4(source, strip, row_bytes);
    } else {
      unpack_tile8(source, strip, row_bytes);
    }
  }
}

// 64 columns of a word row stay in eight registers: every field comes in at the top and moves down as others follow.
template <int kBits>
inline void gather_word_row(const char* strip, std::int64_t row_bytes, const std::int32_t* order, std::uint32_t* words) {
  constexpr int kFields = 32 / kBits;
  const __m256i top = _mm256_set1_epi32(static_cast<int>(~0u << (32 - kBits)));
  __m256i held[8];
  for (__m256i& v : held) v = _mm256_setzero_si256();
  for (int field = 0; field < kFields; ++field) {
    const auto row = static_cast<std::uint32_t>(order[field]);
    const char* const from = strip + static_cast<std::int64_t>(row / kFields) * row_bytes;
    const __m128i shift = _mm_cvtsi32_si128(32 - kBits - static_cast<int>(row % kFields) * kBits);
    for (int c = 0; c < 8; ++c) {
      const __m256i code = _mm256_and_si256(_mm256_sll_epi32(load8(from + c * 32), shift), top);
      held[c] = _mm256_or_si256(_mm256_srli_epi32(held[c], kBits), code);
    }
  }
  for (int c = 0; c < 8; ++c) store8(words + c * 8, held[c]);
}

void gather_gptq_avx2(int bits, const void* strip, std::int64_t row_bytes, const std::int32_t* order, int count, std::uint32_t* words) {
  const char* const at = static_cast<const char*>(strip);
  if (count != 16) {
    gather_gptq_loop(bits, strip, row_bytes, order, count, words);
  } else if (bits == 4) {
    for (int r = 0; r < 2; ++r) gather_word_row<4>(at, row_bytes, order + r * 8, words + r * kStripColumns);
  } else {
    for (int r = 0; r < 4; ++r) gather_word_row<8>(at, row_bytes, order + r * 4, words + r * kStripColumns);
  }
}

// Eight vectors of eight words: word j of vector i <-> word i of vector j.
inline void transpose8(__m256i (&v)[8]) {
  __m256i first[4] = {v[0], v[1], v[2], v[3]}, second[4] = {v[4], v[5], v[6], v[7]};
  transpose4(first);
  transpose4(second);
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2x128_si256(first[i], second[i], 0x20);
    v[i + 4] = _mm256_permute2x128_si256(first[i], second[i], 0x31);
  }
}

// In every word: nibble j of vector i <-> nibble i of vector j, halves first, then bytes, then nibbles.
template <int kShift>
inline void exchange(__m256i& a, __m256i& b, __m256i low) {
  const __m256i differs = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi32(a, kShift), b), low);
  b = _mm256_xor_si256(b, differs);
  a = _mm256_xor_si256(a, _mm256_slli_epi32(differs, kShift));
}
inline void transpose_nibbles(__m256i (&v)[8]) {
  const __m256i halves = _mm256_set1_epi32(0xffff), bytes = _mm256_set1_epi32(0x00ff00ff), nibbles = _mm256_set1_epi8(0x0f);
  for (int i = 0; i < 4; ++i) exchange<16>(v[i], v[i + 4], halves);
  for (int i = 0; i < 4; ++i) exchange<8>(v[i + i / 2 * 2], v[i + i / 2 * 2 + 2], bytes);
  for (int i = 0; i < 4; ++i) exchange<4>(v[2 * i], v[2 * i + 1], nibbles);
}

// Rows of AWQ words -> columns of row codes, 8 x 64 codes at a time: nibbles first, then words. And back.
void gather_awq_avx2(const void* strip, std::int64_t row_bytes, int count, int columns, std::uint32_t* words) {
  if (count != 16 || columns != kStripColumns) {
    gather_awq_loop(strip, row_bytes, count, columns, words);
    return;
  }
  for (int r = 0; r < 2; ++r) {
    const char* const from = static_cast<const char*>(strip) + r * 8 * row_bytes;
    __m256i rows[8], turned[8];
    for (int row = 0; row < 8; ++row) rows[row] = load8(from + row * row_bytes);
    transpose_nibbles(rows);
    for (int column = 0; column < 8; ++column) turned[column] = rows[kAwqShifts[column] / 4];
    transpose8(turned);
    for (int word = 0; word < 8; ++word) store8(words + r * kStripColumns + word * 8, turned[word]);
  }
}

void scatter_awq_avx2(const std::uint32_t* words, void* strip, std::int64_t row_bytes, int count, int columns) {
  if (count != 16 || columns != kStripColumns) {
    scatter_awq_loop(words, strip, row_bytes, count, columns);
    return;
  }
  for (int r = 0; r < 2; ++r) {
    char* const to = static_cast<char*>(strip) + r * 8 * row_bytes;
    __m256i turned[8], rows[8];
    for (int word = 0; word < 8; ++word) turned[word] = load8(words + r * kStripColumns + word * 8);
    transpose8(turned);
    for (int column = 0; column < 8; ++column) rows[kAwqShifts[column] / 4] = turned[column];
    transpose_nibbles(rows);
    for (int row = 0; row < 8; ++row) store8(to + row * row_bytes, rows[row]);
  }
}

void transpose_avx2(const void* source, std::int64_t row_bytes, int rows, std::int64_t words, std::uint32_t* target) {
  if (rows != kStripColumns) {
    transpose_loop(source, row_bytes, rows, words, target);
    return;
  }
  const char* const from = static_cast<const char*>(source);
  const std::int64_t whole = words / 8 * 8;
  for (int row = 0; row < kStripColumns; row += 8) {
    for (std::int64_t word = 0; word < whole; word += 8) {
      __m256i block[8];
      for (int i = 0; i < 8; ++i) block[i] = load8(from + (row + i) * row_bytes + word * 4);
      transpose8(block);
      for (int i = 0; i < 8; ++i) store8(target + (word + i) * kStripColumns + row, block[i]);
    }
  }
  if (whole < words) transpose_loop(from + whole * 4, row_bytes, rows, words - whole, target + whole * kStripColumns);
}

void transpose_back_avx2(const std::uint32_t* source, std::int64_t words, void* target, std::int64_t row_bytes, int rows) {
  if (rows != kStripColumns) {
    transpose_back_loop(source, words, target, row_bytes, rows);
    return;
  }
  char* const to = static_cast<char*>(target);
  const std::int64_t whole = words / 8 * 8;
  for (int row = 0; row < kStripColumns; row += 8) {
    for (std::int64_t word = 0; word < whole; word += 8) {
      __m256i block[8];
      for (int i = 0; i < 8; ++i) block[i] = load8(source + (word + i) * kStripColumns + row);
      transpose8(block);
      for (int i = 0; i < 8; ++i) store8(to + (row + i) * row_bytes + word * 4, block[i]);
    }
  }
  if (whole < words) transpose_back_loop(source + whole * kStripColumns, words - whole, to + whole * 4, row_bytes, rows);
}

}  // namespace

const TileKernels avx2_tile_kernels = {"avx2",          pack_avx2,          unpack_avx2,      gather_gptq_avx2,
                                       gather_awq_avx2, gather_bytes_loop,  scatter_awq_avx2, scatter_bytes_loop,
                                       transpose_avx2,  transpose_back_avx2};
#else
const TileKernels avx2_tile_kernels = kPlainKernels;
#endif

}  // namespace billfish::pack
