// SPDX-License-Identifier: Apache-2.0
// The kernels of tile_kernels.hpp in plain C++. Included by tile_kernels_scalar.cpp and tile_kernels_avx2.cpp, which compile them each
// for their own instruction set: everything is in an unnamed namespace, so that the linker can never mix the two up.
#pragma once

#include <cstdint>
#include <cstring>

#include "pack/tile_kernels.hpp"

namespace billfish::pack {
namespace {

constexpr std::uint32_t kLowNibbles = 0x0f0f0f0fu;

inline std::uint32_t load_word(const char* at) {
  std::uint32_t word = 0;
  std::memcpy(&word, at, sizeof word);
  return word;
}
inline void store_word(char* at, std::uint32_t word) { std::memcpy(at, &word, sizeof word); }
inline std::uint32_t byte_of(std::uint32_t word, int index) { return (word >> (8 * index)) & 0xffu; }

// 4-bit: a column's 16 codes are the words x0 (k 0-7) and x1 (k 8-15). Byte j of x0 is k = 2j and 2j + 1, of x1 k = 2j + 8 and 2j + 9: just
// what one lane holds. The even k of both make byte j of `low`, the odd ones of `high`; a Marlin word is low, high of the columns n, n + 8.
inline void pack_column_pair4(const char* x, const char* y, std::int64_t row_bytes, std::uint32_t* out) {
  const std::uint32_t x0 = load_word(x), x1 = load_word(x + row_bytes), y0 = load_word(y), y1 = load_word(y + row_bytes);
  const std::uint32_t x_low = (x0 & kLowNibbles) | ((x1 & kLowNibbles) << 4), x_high = ((x0 >> 4) & kLowNibbles) | (x1 & ~kLowNibbles);
  const std::uint32_t y_low = (y0 & kLowNibbles) | ((y1 & kLowNibbles) << 4), y_high = ((y0 >> 4) & kLowNibbles) | (y1 & ~kLowNibbles);
  for (int j = 0; j < 4; ++j) {
    out[j * 4] = byte_of(x_low, j) | byte_of(y_low, j) << 8 | byte_of(x_high, j) << 16 | byte_of(y_high, j) << 24;
  }
}

inline void unpack_column_pair4(const std::uint32_t* in, char* x, char* y, std::int64_t row_bytes) {
  std::uint32_t x_low = 0, y_low = 0, x_high = 0, y_high = 0;
  for (int j = 0; j < 4; ++j) {
    const std::uint32_t word = in[j * 4];
    x_low |= byte_of(word, 0) << (8 * j);
    y_low |= byte_of(word, 1) << (8 * j);
    x_high |= byte_of(word, 2) << (8 * j);
    y_high |= byte_of(word, 3) << (8 * j);
  }
  store_word(x, (x_low & kLowNibbles) | ((x_high & kLowNibbles) << 4));
  store_word(x + row_bytes, ((x_low >> 4) & kLowNibbles) | (x_high & ~kLowNibbles));
  store_word(y, (y_low & kLowNibbles) | ((y_high & kLowNibbles) << 4));
  store_word(y + row_bytes, ((y_low >> 4) & kLowNibbles) | (y_high & ~kLowNibbles));
}

// 8-bit: bytes of the Marlin word of lane j are k = 2j, 2j + 8, 2j + 1, 2j + 9: two bytes of word row j / 2 and two of j / 2 + 2.
inline void pack_column8(const char* x, std::int64_t row_bytes, std::uint32_t* out) {
  for (int j = 0; j < 4; ++j) {
    const std::uint32_t near = load_word(x + j / 2 * row_bytes), far = load_word(x + (j / 2 + 2) * row_bytes);
    const int b = j % 2 * 2;
    out[j * 8] = byte_of(near, b) | byte_of(far, b) << 8 | byte_of(near, b + 1) << 16 | byte_of(far, b + 1) << 24;
  }
}

inline void unpack_column8(const std::uint32_t* in, char* x, std::int64_t row_bytes) {
  for (int r = 0; r < 2; ++r) {
    const std::uint32_t first = in[2 * r * 8], second = in[(2 * r + 1) * 8];
    store_word(x + r * row_bytes, byte_of(first, 0) | byte_of(first, 2) << 8 | byte_of(second, 0) << 16 | byte_of(second, 2) << 24);
    store_word(x + (r + 2) * row_bytes, byte_of(first, 1) | byte_of(first, 3) << 8 | byte_of(second, 1) << 16 | byte_of(second, 3) << 24);
  }
}

[[maybe_unused]] void pack_loop(int bits, const void* rows, std::int64_t row_bytes, std::uint32_t* target, std::int64_t tiles) {
  const char* strip = static_cast<const char*>(rows);
  for (std::int64_t tile = 0; tile < tiles; ++tile, strip += kStripColumns * 4, target += 32 * bits) {
    for (int column = 0; column < 8; ++column) {  // a lane's: n % 8
      for (int warp = 0; warp < 4; ++warp) {
        const char* const x = strip + (16 * warp + column) * 4;
        if (bits == 4) {
          pack_column_pair4(x, x + 32, row_bytes, target + column * 16 + warp);
        } else {
          pack_column8(x, row_bytes, target + column * 32 + 2 * warp);
          pack_column8(x + 32, row_bytes, target + column * 32 + 2 * warp + 1);
        }
      }
    }
  }
}

[[maybe_unused]] void unpack_loop(int bits, const std::uint32_t* source, void* rows, std::int64_t row_bytes, std::int64_t tiles) {
  char* strip = static_cast<char*>(rows);
  for (std::int64_t tile = 0; tile < tiles; ++tile, strip += kStripColumns * 4, source += 32 * bits) {
    for (int column = 0; column < 8; ++column) {
      for (int warp = 0; warp < 4; ++warp) {
        char* const x = strip + (16 * warp + column) * 4;
        if (bits == 4) {
          unpack_column_pair4(source + column * 16 + warp, x, x + 32, row_bytes);
        } else {
          unpack_column8(source + column * 32 + 2 * warp, x, row_bytes);
          unpack_column8(source + column * 32 + 2 * warp + 1, x + 32, row_bytes);
        }
      }
    }
  }
}

template <int kBits>
void gather_gptq_of(const char* strip, std::int64_t row_bytes, const std::int32_t* order, int count, std::uint32_t* words) {
  constexpr int kFields = 32 / kBits;
  for (int r = 0; r < kBits / 2; ++r) {
    std::uint32_t* const out = words + r * kStripColumns;
    std::memset(out, 0, kStripColumns * 4);
    for (int field = 0; field < kFields && r * kFields + field < count; ++field) {
      const std::int32_t row = order[r * kFields + field];
      const char* const from = strip + row / kFields * row_bytes;
      const int shift = row % kFields * kBits;
      for (int c = 0; c < kStripColumns; ++c) out[c] |= ((load_word(from + c * 4) >> shift) & ((1u << kBits) - 1)) << (field * kBits);
    }
  }
}

[[maybe_unused]] void gather_gptq_loop(int bits, const void* strip, std::int64_t row_bytes, const std::int32_t* order, int count,
                                       std::uint32_t* words) {
  const char* const at = static_cast<const char*>(strip);
  if (bits == 4) {
    gather_gptq_of<4>(at, row_bytes, order, count, words);
  } else {
    gather_gptq_of<8>(at, row_bytes, order, count, words);
  }
}

constexpr int kAwqShifts[8] = {0, 16, 4, 20, 8, 24, 12, 28};  // of columns 0 .. 7 of a word: layout/awq_order.hpp

[[maybe_unused]] void gather_awq_loop(const void* strip, std::int64_t row_bytes, int count, int columns, std::uint32_t* words) {
  std::memset(words, 0, 2 * kStripColumns * 4);
  for (int row = 0; row < count; ++row) {
    const char* const from = static_cast<const char*>(strip) + row * row_bytes;
    std::uint32_t* const out = words + row / 8 * kStripColumns;
    for (int c = 0; c < columns; c += 8) {
      const std::uint32_t word = load_word(from + c / 8 * 4);
      for (int i = 0; i < 8; ++i) out[c + i] |= ((word >> kAwqShifts[i]) & 0xfu) << (row % 8 * 4);
    }
  }
}

[[maybe_unused]] void scatter_awq_loop(const std::uint32_t* words, void* strip, std::int64_t row_bytes, int count, int columns) {
  for (int row = 0; row < count; ++row) {
    const std::uint32_t* const from = words + row / 8 * kStripColumns;
    char* const to = static_cast<char*>(strip) + row * row_bytes;
    for (int c = 0; c < columns; c += 8) {
      std::uint32_t word = 0;
      for (int i = 0; i < 8; ++i) word |= ((from[c + i] >> (row % 8 * 4)) & 0xfu) << kAwqShifts[i];
      store_word(to + c / 8 * 4, word);
    }
  }
}

[[maybe_unused]] void scatter_bytes_loop(int bits, const std::uint32_t* words, void* strip, std::int64_t row_bytes, int count,
                                         int columns) {
  const std::uint32_t mask = (1u << bits) - 1;
  for (int row = 0; row < count; ++row) {
    const std::uint32_t* const from = words + row * bits / 32 * kStripColumns;
    auto* const to = static_cast<std::uint8_t*>(strip) + row * row_bytes;
    const int shift = row * bits % 32;
    for (int c = 0; c < columns; ++c) to[c] = static_cast<std::uint8_t>((from[c] >> shift) & mask);
  }
}

template <int kBits>
bool gather_bytes_of(const std::uint8_t* strip, std::int64_t row_bytes, const std::int32_t* order, int count, int columns,
                     std::uint32_t* words) {
  constexpr int kFields = 32 / kBits;
  constexpr std::uint32_t kMask = (1u << kBits) - 1;
  std::uint32_t seen = 0;
  std::memset(words, 0, kBits / 2 * kStripColumns * 4);
  for (int i = 0; i < count; ++i) {
    const std::uint8_t* const from = strip + order[i] * row_bytes;
    std::uint32_t* const out = words + i / kFields * kStripColumns;
    const int shift = i % kFields * kBits;
    for (int c = 0; c < columns; ++c) {
      seen |= from[c];
      out[c] |= (from[c] & kMask) << shift;
    }
  }
  return seen > kMask;
}

[[maybe_unused]] bool gather_bytes_loop(int bits, const void* strip, std::int64_t row_bytes, const std::int32_t* order, int count,
                                        int columns, std::uint32_t* words) {
  const auto* const at = static_cast<const std::uint8_t*>(strip);
  return bits == 4 ? gather_bytes_of<4>(at, row_bytes, order, count, columns, words)
                   : gather_bytes_of<8>(at, row_bytes, order, count, columns, words);
}

[[maybe_unused]] void transpose_loop(const void* source, std::int64_t row_bytes, int rows, std::int64_t words, std::uint32_t* target) {
  const char* const from = static_cast<const char*>(source);
  for (int row = 0; row < rows; ++row) {
    for (std::int64_t word = 0; word < words; ++word) target[word * kStripColumns + row] = load_word(from + row * row_bytes + word * 4);
  }
  if (rows == kStripColumns) return;
  for (std::int64_t word = 0; word < words; ++word) {
    for (int row = rows; row < kStripColumns; ++row) target[word * kStripColumns + row] = 0;
  }
}

[[maybe_unused]] void transpose_back_loop(const std::uint32_t* source, std::int64_t words, void* target, std::int64_t row_bytes, int rows) {
  char* const to = static_cast<char*>(target);
  for (int row = 0; row < rows; ++row) {
    for (std::int64_t word = 0; word < words; ++word) store_word(to + row * row_bytes + word * 4, source[word * kStripColumns + row]);
  }
}

[[maybe_unused]] constexpr TileKernels kPlainKernels = {"scalar",        pack_loop,          unpack_loop,      gather_gptq_loop,
                                                        gather_awq_loop, gather_bytes_loop,  scatter_awq_loop, scatter_bytes_loop,
                                                        transpose_loop,  transpose_back_loop};

}  // namespace
}  // namespace billfish::pack
