// SPDX-License-Identifier: Apache-2.0
// Codes in checkpoint order -> Marlin bytes. A warp makes 16 x 64 tiles; a lane makes the 16 (4-bit) or 32 (8-bit) bytes of a tile that a
// multiplying lane will load, so that writes are whole lines. Reads: a tile's words 16 bytes a lane into shared memory, all tiles of a warp
// under way at once, where rows allow it; else word by word from global memory.
//
//   a lane's codes (n8 = lane / 4, j = lane % 4): columns n8 + 8i, i = 0..7; rows 2j, 2j + 1, 2j + 8, 2j + 9
//
// Ragged tiles and act order go code by code (elements.cuh). Called by pack.cu.
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

// A word holds eight neighbouring columns of one row: column n8 of eight words. Rotating a word brings the nibble to its place in the output.
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

// A word at a time straight to memory, not unrolled: the fast path keeps its registers.
template <int kBits>
__device__ __forceinline__ void general_tile(const Source& source, const std::int32_t* perm, std::int64_t k0, std::int64_t n0, int lane,
                                             std::uint32_t* target) {
#pragma unroll 1
  for (int word = lane * kBits; word < lane * kBits + kBits; ++word) {
    std::uint32_t out = 0;
#pragma unroll 1
    for (int shift = 0; shift < 32; shift += kBits) {
      const layout::Element element = layout::marlin_code_element(kBits, word, shift, 64);
      const std::int64_t k = k0 + element.k, n = n0 + element.n;
      int code = implicit_zero(source.type);
      if (n < source.n) {
        // Padding of K holds the zero of its column, so that it contributes nothing.
        code = k < source.k ? code_at<kBits>(source, perm != nullptr ? perm[k] : k, n) : zero_at<kBits>(source, source.group_count - 1, n);
      }
      out |= static_cast<std::uint32_t>(code) << shift;
    }
    target[word] = out;
  }
}

// rows: where the 16 rows of k tile `k_tile` begin.
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

// A tile's words by rows: how many of 16 bytes a row has, and how far rows are apart.
template <Format kFormat>
constexpr int kVectorsPerRow = kFormat == Format::awq ? 2 : 16;

template <Format kFormat>
__device__ std::int64_t row_stride(std::int64_t columns) {
  return kFormat == Format::awq ? columns / 8 : columns;
}

// Whether rows of words begin at multiples of 16 bytes.
template <Format kFormat>
__device__ bool vector_rows(const Source& source) {
  return row_stride<kFormat>(source.n) % 4 == 0 && reinterpret_cast<std::uintptr_t>(source.codes) % 16 == 0;
}

template <Format kFormat, int kBits>
__device__ void load_tile(const std::uint32_t* rows, std::int64_t columns, std::int64_t n0, int lane, uint4 (&words)[kBits / 4]) {
#pragma unroll
  for (int i = 0; i < kBits / 4; ++i) {
    const int vector = 32 * i + lane;
    const std::uint32_t* row = rows + vector / kVectorsPerRow<kFormat> * row_stride<kFormat>(columns) + row_stride<kFormat>(n0);
    words[i] = __ldcs(reinterpret_cast<const uint4*>(row) + vector % kVectorsPerRow<kFormat>);
  }
}

template <int kBits>
__device__ void store(std::uint32_t* target, int lane, const std::uint32_t (&out)[kBits]) {
#pragma unroll
  for (int i = 0; i < kBits; i += 4) {
    reinterpret_cast<uint4*>(target + lane * kBits)[i / 4] = make_uint4(out[i], out[i + 1], out[i + 2], out[i + 3]);
  }
}

// kFormat: gptq_v2 stands for both versions (their codes are the same), raw for every format without whole tiles.
template <Format kFormat, int kBits>
__global__ void __launch_bounds__(32 * kWarps) repack_codes(Source source, std::uint32_t* target, const std::int32_t* perm) {
  const int lane = threadIdx.x % 32;
  const auto n_tiles = static_cast<unsigned>(source.padded_n() / 64), k_tiles = static_cast<unsigned>(source.padded_k() / 16);
  const unsigned item = blockIdx.x * kWarps + threadIdx.x / 32;
  const std::int64_t n_tile = item % n_tiles;
  const std::int64_t row_words = layout::marlin_row_words(kBits, source.padded_n());
  const std::int64_t first = item / n_tiles * kTilesPerWarp;
  if (kFormat != Format::raw && perm == nullptr && 64 * n_tile + 64 <= source.n && 16 * (first + kTilesPerWarp) <= source.k &&
      vector_rows<kFormat>(source)) {
    __shared__ uint4 staged[kWarps][32 * kBits / 4];
    uint4(&stage)[32 * kBits / 4] = staged[threadIdx.x / 32];
    const auto* rows = static_cast<const std::uint32_t*>(source.codes) + first * (source.n * kBits / 2);
    uint4 words[kTilesPerWarp][kBits / 4];
#pragma unroll
    for (int i = 0; i < kTilesPerWarp; ++i) {
      load_tile<kFormat, kBits>(rows + i * (source.n * kBits / 2), source.n, 64 * n_tile, lane, words[i]);
    }
#pragma unroll
    for (int i = 0; i < kTilesPerWarp; ++i) {
#pragma unroll
      for (int part = 0; part < kBits / 4; ++part) stage[32 * part + lane] = words[i][part];
      __syncwarp();
      std::uint32_t out[kBits];
      whole_tile<kFormat, kBits>(reinterpret_cast<const std::uint32_t*>(stage), 64, 0, lane, out);
      __syncwarp();
      store(target + (first + i) * row_words + n_tile * (32 * kBits), lane, out);
    }
    return;
  }
#pragma unroll 1
  for (int i = 0; i < kTilesPerWarp; ++i) {
    const std::int64_t k_tile = first + i;
    if (k_tile >= k_tiles) return;
    std::uint32_t* tile = target + k_tile * row_words + n_tile * (32 * kBits);
    if (kFormat == Format::raw || perm != nullptr || 64 * n_tile + 64 > source.n || 16 * k_tile + 16 > source.k) {
      general_tile<kBits>(source, perm, 16 * k_tile, 64 * n_tile, lane, tile);
      continue;
    }
    std::uint32_t out[kBits];
    const auto* rows = static_cast<const std::uint32_t*>(source.codes) + k_tile * (source.n * kBits / 2);
    whole_tile<kFormat, kBits>(rows, source.n, 64 * n_tile, lane, out);
    store(tile, lane, out);
  }
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
  const std::int64_t items = target.padded_n() / 64 * ceil_div(target.padded_k() / 16, kTilesPerWarp);
  const unsigned blocks = static_cast<unsigned>(ceil_div(items, kWarps));
  if (blocks == 0) return;
  const bool gptq = source.format == Format::gptq_v1 || source.format == Format::gptq_v2;
  if (bits_of(source.type) == 4) {
    const auto kernel = gptq                           ? repack_codes<Format::gptq_v2, 4>
                        : source.format == Format::awq ? repack_codes<Format::awq, 4>
                                                       : repack_codes<Format::raw, 4>;
    kernel<<<blocks, 32 * kWarps, 0, stream>>>(Source(source), target.codes, perm);
  } else {
    const auto kernel = gptq ? repack_codes<Format::gptq_v2, 8> : repack_codes<Format::raw, 8>;
    kernel<<<blocks, 32 * kWarps, 0, stream>>>(Source(source), target.codes, perm);
  }
}

cudaError_t codes_in_place(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream) {
  if (source.format == Format::awq) return launch_in_place<Format::awq, 4>(source, target, stream);
  if (bits_of(source.type) == 4) return launch_in_place<Format::gptq_v2, 4>(source, target, stream);
  return launch_in_place<Format::gptq_v2, 8>(source, target, stream);
}

}  // namespace billfish::cuda::repack
