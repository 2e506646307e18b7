// SPDX-License-Identifier: Apache-2.0
// Codes in checkpoint order -> Marlin bytes. A warp makes 16 x 64 tiles; a lane makes the 16 (4-bit) or 32 (8-bit) bytes of a tile that a
// multiplying lane will load, so that writes are whole lines. Tiles come in by 16-byte loads, four of them in flight a
// warp, and are taken apart in shared memory. Memory-bound: about 60 instructions a lane for the 16 bytes of a 4-bit GPTQ tile.
//
//   a lane's codes (n8 = lane / 4, j = lane % 4): columns n8 + 8i, i = 0..7; rows 2j, 2j + 1, 2j + 8, 2j + 9
//
// Ragged tiles, act order and other formats go code by code (elements.cuh). Called by pack.cu.
#include "cuda/ptx/packed_math.cuh"
#include "cuda/repack/elements.cuh"
#include "cuda/repack/repack.hpp"
#include "layout/marlin_weights.hpp"

namespace billfish::cuda::repack {
namespace {

constexpr int kWarps = 8;         // of a block
constexpr int kTilesPerWarp = 4;  // along K

// rows: the first word of the 16 rows of this tile, in checkpoint order; stride: words from one row of words to the next.
__device__ void gptq_tile4(const std::uint32_t* rows, std::int64_t stride, int lane, std::uint32_t (&out)[4]) {
  const int j = lane % 4;
  const std::uint32_t selector = static_cast<std::uint32_t>(j | (4 + j) << 4);
#pragma unroll
  for (int block = 0; block < 4; ++block) {
    std::uint32_t even[2], odd[2];  // byte j: rows 2j (low nibble) and 2j + 8; rows 2j + 1 and 2j + 9
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int n = 16 * block + 8 * half + lane / 4;
      const std::uint32_t low = rows[n], high = rows[stride + n];
      even[half] = (low & 0x0f0f0f0fu) | (high & 0x0f0f0f0fu) << 4;
      odd[half] = (low >> 4 & 0x0f0f0f0fu) | (high & 0xf0f0f0f0u);
    }
    const std::uint32_t evens = __byte_perm(even[0], even[1], selector);
    const std::uint32_t odds = __byte_perm(odd[0], odd[1], selector);
    out[block] = __byte_perm(evens, odds, 0x5410);
  }
}

// Four rows of words hold 16 of K; a lane's four bytes of a column lie in two of them.
__device__ void gptq_tile8(const std::uint32_t* rows, std::int64_t stride, int lane, std::uint32_t (&out)[8]) {
  const int j = lane % 4;
  const std::uint32_t selector = j % 2 == 0 ? 0x5140u : 0x7362u;
#pragma unroll
  for (int word = 0; word < 8; ++word) {
    const int n = 8 * word + lane / 4;
    out[word] = __byte_perm(rows[j / 2 * stride + n], rows[(2 + j / 2) * stride + n], selector);
  }
}

// A word holds eight neighbouring columns of one row: column n8 of eight words. Rotating a word brings the nibble to its place in the
// output.
__device__ void awq_tile4(const std::uint32_t* rows, std::int64_t stride, int lane, std::uint32_t (&out)[4]) {
  const int j = lane % 4;
  const int shift = layout::awq_code(0, lane / 4, 8).shift;
#pragma unroll
  for (int block = 0; block < 4; ++block) out[block] = 0;
#pragma unroll
  for (int odd = 0; odd < 2; ++odd) {
#pragma unroll
    for (int upper = 0; upper < 2; ++upper) {
      const std::uint32_t* row = rows + (2 * j + odd + 8 * upper) * stride;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int place = 16 * odd + 8 * (i % 2) + 4 * upper;
        out[i / 2] |= __funnelshift_r(row[i], row[i], static_cast<unsigned>(shift - place)) & (0xfu << place);
      }
    }
  }
}

// rows: where a tile's 16 rows begin; columns: of the matrix that they are rows of.
template <Format kFormat, int kBits>
__device__ void whole_tile(const std::uint32_t* rows, std::int64_t columns, std::int64_t n0, int lane, std::uint32_t (&out)[kBits]) {
  if constexpr (kFormat == Format::awq) {
    awq_tile4(rows + n0 / 8, columns / 8, lane, out);
  } else if constexpr (kBits == 4) {
    gptq_tile4(rows + n0, columns, lane, out);
  } else {
    gptq_tile8(rows + n0, columns, lane, out);
  }
}

template <int kBits>
__device__ void store(std::uint32_t* target, int lane, const std::uint32_t (&out)[kBits]) {
#pragma unroll
  for (int i = 0; i < kBits; i += 4) {
    reinterpret_cast<uint4*>(target + lane * kBits)[i / 4] = make_uint4(out[i], out[i + 1], out[i + 2], out[i + 3]);
  }
}

// A tile in shared memory as it lies in the checkpoint: kRows rows of kRowWords words; GPTQ's rows are set apart by 8 banks.
template <Format kFormat, int kBits>
struct Staged {
  static constexpr int kRowWords = kFormat == Format::awq ? 8 : 64;
  static constexpr int kColumns = kFormat == Format::awq ? 64 : 72;  // what whole_tile takes for the matrix's columns
  static constexpr int kRows = 32 * kBits / kRowWords;
  static constexpr int kStride = kFormat == Format::awq ? 8 : 72;
};

// What the fast kernel takes on: kTilesPerWarp tiles below each other, all of whose codes exist.
__device__ inline bool is_whole(const Source& source, std::int64_t first_k_tile, std::int64_t n_tile) {
  return 64 * n_tile + 64 <= source.n && 16 * (first_k_tile + kTilesPerWarp) <= source.k;
}

// kFormat: gptq_v2 stands for both versions: their codes are the same.
template <Format kFormat, int kBits>
__global__ void __launch_bounds__(32 * kWarps) repack_whole(Source source, std::uint32_t* target) {
  using Tile = Staged<kFormat, kBits>;
  __shared__ __align__(16) std::uint32_t staged[kWarps][kTilesPerWarp][Tile::kRows * Tile::kStride];
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const auto n_tiles = static_cast<unsigned>(source.padded_n() / 64);
  const unsigned item = blockIdx.x * kWarps + warp;
  const std::int64_t n_tile = item % n_tiles;
  const std::int64_t first_tile = std::int64_t{item / n_tiles} * kTilesPerWarp;
  if (!is_whole(source, first_tile, n_tile)) return;
  constexpr int row_units = Tile::kRowWords / 4;
  const std::int64_t source_stride = kFormat == Format::awq ? source.n / 8 : source.n;
  const auto* from = static_cast<const std::uint32_t*>(source.codes) + first_tile * Tile::kRows * source_stride + n_tile * Tile::kRowWords;
  uint4 units[kTilesPerWarp][kBits / 4];
#pragma unroll
  for (int i = 0; i < kTilesPerWarp; ++i) {
#pragma unroll
    for (int j = 0; j < kBits / 4; ++j) {
      const int unit = lane + 32 * j;
      units[i][j] = __ldcs(reinterpret_cast<const uint4*>(from + (i * Tile::kRows + unit / row_units) * source_stride) + unit % row_units);
    }
  }
#pragma unroll
  for (int i = 0; i < kTilesPerWarp; ++i) {
#pragma unroll
    for (int j = 0; j < kBits / 4; ++j) {
      const int unit = lane + 32 * j;
      *reinterpret_cast<uint4*>(&staged[warp][i][unit / row_units * Tile::kStride + unit % row_units * 4]) = units[i][j];
    }
  }
  __syncwarp();
  const std::int64_t row_words = layout::marlin_row_words(kBits, source.padded_n());
#pragma unroll 1
  for (int i = 0; i < kTilesPerWarp; ++i) {
    std::uint32_t out[kBits];
    whole_tile<kFormat, kBits>(staged[warp][i], Tile::kColumns, 0, lane, out);
    store(target + (first_tile + i) * row_words + n_tile * (32 * kBits), lane, out);
  }
}

// A thread a word of the tiles that repack_whole left out (of all, unless `skip_whole`), code by code.
template <int kBits>
__global__ void __launch_bounds__(256) repack_rest(Source source, std::uint32_t* target, const std::int32_t* perm, bool skip_whole) {
  const unsigned item = blockIdx.x * (256 / (32 * kBits)) + threadIdx.x / (32 * kBits);
  const auto n_tiles = static_cast<unsigned>(source.padded_n() / 64);
  const std::int64_t n_tile = item % n_tiles;
  const std::int64_t k_tile = item / n_tiles;
  if (16 * k_tile >= source.k || (skip_whole && is_whole(source, k_tile / kTilesPerWarp * kTilesPerWarp, n_tile))) return;
  const int word = threadIdx.x % (32 * kBits);
  std::uint32_t out = 0;
#pragma unroll 1
  for (int shift = 0; shift < 32; shift += kBits) {
    const layout::Element element = layout::marlin_code_element(kBits, word, shift, 64);
    const std::int64_t k = 16 * k_tile + element.k, n = 64 * n_tile + element.n;
    int code = implicit_zero(source.type);
    if (n < source.n) {
      // Padding of K holds the zero of its column, so that it contributes nothing.
      code = k < source.k ? code_at<kBits>(source, perm != nullptr ? perm[k] : k, n) : zero_at<kBits>(source, source.group_count - 1, n);
    }
    out |= static_cast<std::uint32_t>(code) << shift;
  }
  target[k_tile * layout::marlin_row_words(kBits, source.padded_n()) + n_tile * (32 * kBits) + word] = out;
}

template <int kBits>
void launch_codes(const Source& source, std::uint32_t* target, const std::int32_t* perm, cudaStream_t stream) {
  const std::int64_t n_tiles = source.padded_n() / 64, k_tiles = source.padded_k() / 16;
  const bool gptq = source.format == Format::gptq_v1 || source.format == Format::gptq_v2;
  const bool vectors = reinterpret_cast<std::uintptr_t>(source.codes) % 16 == 0 && source.n % 32 == 0;
  const bool fast = (gptq || source.format == Format::awq) && vectors && perm == nullptr;
  if (fast) {
    const unsigned blocks = static_cast<unsigned>(ceil_div(n_tiles * ceil_div(k_tiles, kTilesPerWarp), kWarps));
    auto kernel = repack_whole<Format::gptq_v2, kBits>;
    if constexpr (kBits == 4) {
      if (!gptq) kernel = repack_whole<Format::awq, 4>;
    }
    kernel<<<blocks, 32 * kWarps, 0, stream>>>(source, target);
    if (source.n % 64 == 0 && source.k % (16 * kTilesPerWarp) == 0) return;
  }
  const unsigned blocks = static_cast<unsigned>(ceil_div(n_tiles * k_tiles, 256 / (32 * kBits)));
  repack_rest<kBits><<<blocks, 256, 0, stream>>>(source, target, perm, fast);
}

// A block takes 16 rows: all of them into shared memory, then back as tiles. The rows and the tiles are the same bytes of memory.
template <Format kFormat, int kBits>
__global__ void __launch_bounds__(32 * kWarps) repack_in_place(std::uint32_t* codes, std::int64_t n) {
  extern __shared__ uint4 rows[];
  const std::int64_t row_words = layout::marlin_row_words(kBits, n);
  std::uint32_t* here = codes + blockIdx.x * row_words;
  for (std::int64_t i = threadIdx.x; i < row_words / 4; i += 32 * kWarps) rows[i] = reinterpret_cast<const uint4*>(here)[i];
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (std::int64_t n_tile = threadIdx.x / 32; n_tile < n / 64; n_tile += kWarps) {
    std::uint32_t out[kBits];
    whole_tile<kFormat, kBits>(reinterpret_cast<const std::uint32_t*>(rows), n, 64 * n_tile, lane, out);
    store(here + n_tile * (32 * kBits), lane, out);
  }
}

template <Format kFormat, int kBits>
cudaError_t launch_in_place(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream) {
  const int bytes = static_cast<int>(in_place_bytes(target));
  const cudaError_t error = cudaFuncSetAttribute(repack_in_place<kFormat, kBits>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  repack_in_place<kFormat, kBits><<<static_cast<unsigned>(source.k / 16), 32 * kWarps, bytes, stream>>>(target.codes, source.n);
  return cudaSuccess;
}

}  // namespace

void codes(const QuantizedMatrix& source, const PackedMatrix& target, const std::int32_t* perm, cudaStream_t stream) {
  if (bits_of(source.type) == 4) {
    launch_codes<4>(Source(source), target.codes, perm, stream);
  } else {
    launch_codes<8>(Source(source), target.codes, perm, stream);
  }
}

cudaError_t codes_in_place(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream) {
  if (source.format == Format::awq) return launch_in_place<Format::awq, 4>(source, target, stream);
  if (bits_of(source.type) == 4) return launch_in_place<Format::gptq_v2, 4>(source, target, stream);
  return launch_in_place<Format::gptq_v2, 8>(source, target, stream);
}

}  // namespace billfish::cuda::repack
