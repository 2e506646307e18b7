// SPDX-License-Identifier: Apache-2.0
// The tile kernels with AVX2: transposing whole tiles in registers. Compiled with -mavx2; reached only through best_tile_kernels().
#include "pack/tile_loops.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace billfish::pack {
#if defined(__AVX2__)
namespace {

inline __m256i load8(const char* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }
inline void store8(std::uint32_t* at, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), v); }

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

void gather_awq_avx2(const void* strip, std::int64_t row_bytes, int count, int columns, std::uint32_t* words) {
  if (count != 16 || columns != kStripColumns) {
    gather_awq_loop(strip, row_bytes, count, columns, words);
    return;
  }
  const __m256i shifts = _mm256_setr_epi32(0, 16, 4, 20, 8, 24, 12, 28);
  const __m256i nibble = _mm256_set1_epi32(0xf);
  const char* const from = static_cast<const char*>(strip);
  for (int r = 0; r < 2; ++r) {
    for (int c = 0; c < 8; ++c) {
      __m256i sum = _mm256_setzero_si256();
      for (int field = 7; field >= 0; --field) {
        const std::uint32_t word = load_word(from + (r * 8 + field) * row_bytes + c * 4);
        const __m256i codes = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word)), shifts), nibble);
        sum = _mm256_or_si256(_mm256_slli_epi32(sum, 4), codes);
      }
      store8(words + r * kStripColumns + c * 8, sum);
    }
  }
}

// 8 x 8 words at a time.
void transpose_avx2(const void* source, std::int64_t row_bytes, int rows, std::int64_t words, std::uint32_t* target) {
  if (rows != kStripColumns) {
    transpose_loop(source, row_bytes, rows, words, target);
    return;
  }
  const char* const from = static_cast<const char*>(source);
  const std::int64_t whole = words / 8 * 8;
  for (int row = 0; row < kStripColumns; row += 8) {
    for (std::int64_t word = 0; word < whole; word += 8) {
      const char* const at = from + row * row_bytes + word * 4;
      __m256i first[4] = {load8(at), load8(at + row_bytes), load8(at + 2 * row_bytes), load8(at + 3 * row_bytes)};
      __m256i second[4] = {load8(at + 4 * row_bytes), load8(at + 5 * row_bytes), load8(at + 6 * row_bytes), load8(at + 7 * row_bytes)};
      transpose4(first);
      transpose4(second);
      for (int i = 0; i < 4; ++i) {
        store8(target + (word + i) * kStripColumns + row, _mm256_permute2x128_si256(first[i], second[i], 0x20));
        store8(target + (word + i + 4) * kStripColumns + row, _mm256_permute2x128_si256(first[i], second[i], 0x31));
      }
    }
  }
  if (whole < words) transpose_loop(from + whole * 4, row_bytes, rows, words - whole, target + whole * kStripColumns);
}

}  // namespace

const TileKernels avx2_tile_kernels = {"avx2",          pack_avx2,         unpack_loop,   gather_gptq_loop,
                                       gather_awq_avx2, gather_bytes_loop, transpose_avx2};
#else
const TileKernels avx2_tile_kernels = {"scalar",        pack_loop,         unpack_loop,   gather_gptq_loop,
                                       gather_awq_loop, gather_bytes_loop, transpose_loop};
#endif

}  // namespace billfish::pack
