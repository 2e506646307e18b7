// SPDX-License-Identifier: Apache-2.0
// How a strip of codes, 16 rows x 256 columns as the checkpoint has them, becomes four Marlin tiles. A format is a functor: the shape of
// its strip in memory, and one output word from it. Called by codes.cu.
//
//   a lane's codes of a tile (n8 = lane / 4, j = lane % 4): columns n8 + 8i, i = 0..7; rows 2j, 2j + 1, 2j + 8, 2j + 9
//   4-bit output word, from the lowest byte: column n rows 2j and 2j + 8, column n + 8 the same rows; then both with the odd rows
//   8-bit output word: column n, rows 2j, 2j + 8, 2j + 1, 2j + 9
//
// word(rows, stride, n, j): `rows` begins the strip, `stride` words lie between its rows, n is a column of it.
#pragma once

#include <cstdint>

#include "layout/awq_order.hpp"

namespace billfish::cuda::repack {

constexpr int kStripColumns = 256;

// kRows rows of memory; a 16-byte unit of one holds kUnitColumns columns; rows lie kStride words apart in shared memory. kSpareBits are
// those of a word that hold no code.
struct GptqStrip4 {
  static constexpr int kBits = 4, kRows = 2, kUnitColumns = 4, kStride = 256;
  static constexpr std::uint32_t kSpareBits = 0;
  static __device__ std::uint32_t word(const std::uint32_t* rows, int stride, int n, int j) {
    const auto selector = static_cast<std::uint32_t>(j * 0x1111 + 0x4040);                      // byte j of both, twice
    const std::uint32_t upper = __byte_perm(rows[n], rows[n + 8], selector);                    // rows 2j, 2j + 1
    const std::uint32_t lower = __byte_perm(rows[stride + n], rows[stride + n + 8], selector);  // rows 2j + 8, 2j + 9
    const std::uint32_t low = (upper & 0x0000ffffu) | (upper >> 4 & 0xffff0000u);
    const std::uint32_t high = (lower << 4 & 0x0000ffffu) | (lower & 0xffff0000u);
    return (low & 0x0f0f0f0fu) | (high & 0xf0f0f0f0u);
  }
};

struct GptqStrip8 {
  static constexpr int kBits = 8, kRows = 4, kUnitColumns = 4, kStride = 264;
  static constexpr std::uint32_t kSpareBits = 0;
  static __device__ std::uint32_t word(const std::uint32_t* rows, int stride, int n, int j) {
    return __byte_perm(rows[j / 2 * stride + n], rows[(2 + j / 2) * stride + n], j % 2 == 0 ? 0x5140u : 0x7362u);
  }
};

// A word holds eight neighbouring columns of one row.
struct AwqStrip4 {
  static constexpr int kBits = 4, kRows = 16, kUnitColumns = 32, kStride = 36;  // the rows of a load fall into distinct banks
  static constexpr std::uint32_t kSpareBits = 0;
  static __device__ std::uint32_t word(const std::uint32_t* rows, int stride, int n, int j) {
    const int shift = layout::awq_code(0, n % 8, 8).shift;
    const auto selector = static_cast<std::uint32_t>(shift / 8 * 0x11 + 0x40);
    const auto bytes_of = [&](int row) {  // the bytes with column n of `row` and of the next row, each with column n + 8 behind it
      const auto* even = reinterpret_cast<const uint2*>(rows + row * stride + n / 8);
      const auto* odd = reinterpret_cast<const uint2*>(rows + (row + 1) * stride + n / 8);
      return __byte_perm(__byte_perm(even->x, even->y, selector), __byte_perm(odd->x, odd->y, selector), 0x5410);
    };
    const std::uint32_t low = bytes_of(2 * j) >> shift % 8, high = bytes_of(2 * j + 8) << (4 - shift % 8);
    return (low & 0x0f0f0f0fu) | (high & 0xf0f0f0f0u);
  }
};

// A byte a code.
template <int kBitsOfCode>
struct RawStrip {
  static constexpr int kBits = kBitsOfCode, kRows = 16, kUnitColumns = 16, kStride = 68;
  static constexpr std::uint32_t kSpareBits = kBitsOfCode == 4 ? 0xf0f0f0f0u : 0;
  static __device__ std::uint32_t word(const std::uint32_t* rows, int stride, int n, int j) {
    const auto at = [&](int row, int column) { return rows[row * stride + column / 4]; };
    const auto selector = static_cast<std::uint32_t>(n % 4 * 0x11 + 0x40);
    if constexpr (kBits == 8) {
      return __byte_perm(__byte_perm(at(2 * j, n), at(2 * j + 8, n), selector), __byte_perm(at(2 * j + 1, n), at(2 * j + 9, n), selector),
                         0x5410);
    } else {
      const auto bytes_of = [&](int row) {
        return __byte_perm(__byte_perm(at(row, n), at(row, n + 8), selector), __byte_perm(at(row + 1, n), at(row + 1, n + 8), selector),
                           0x5410);
      };
      return (bytes_of(2 * j) & 0x0f0f0f0fu) | (bytes_of(2 * j + 8) << 4 & 0xf0f0f0f0u);
    }
  }
};

// The 16 bytes `unit` of a tile: a lane's words, all four of them or, with 8 bits, one half of eight.
template <class Strip>
__device__ uint4 unit_of(const std::uint32_t* rows, int stride, int tile, int unit) {
  const int lane = unit / (Strip::kBits / 4);
  const int n = 64 * tile + lane / 4 + (Strip::kBits == 8 ? unit % 2 * 32 : 0), j = lane % 4;
  constexpr int step = Strip::kBits == 4 ? 16 : 8;
  return make_uint4(Strip::word(rows, stride, n, j), Strip::word(rows, stride, n + step, j), Strip::word(rows, stride, n + 2 * step, j),
                    Strip::word(rows, stride, n + 3 * step, j));
}

}  // namespace billfish::cuda::repack
