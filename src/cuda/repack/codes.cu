// SPDX-License-Identifier: Apache-2.0
// Codes in checkpoint order -> Marlin bytes. Memory-bound: a strip a warp, asked for by asynchronous 16-byte copies, turned in shared
// memory (strips.cuh), written as whole lines; other warps hide the wait. Called by pack.cu.
//
// Speed against a copy of the codes' bytes, scales, zeros and bias included in our time, H200, k 8192, n 28672, group 128, 2026-11-21
// (the copy itself reaches 4.1 TB/s): GPTQ 4-bit 0.93, GPTQ 8-bit 0.95, AWQ 0.85, raw 4-bit 0.95, raw 8-bit 0.93. Two to sixteen strips a
// warp or a grid that stays resident and loops, with two or three strips in flight: 1 to 35 per cent slower. Loads into registers instead:
// 1 per cent slower.
#include "cuda/ptx/async_copy.cuh"
#include "cuda/repack/repack.hpp"
#include "cuda/repack/strips.cuh"
#include "cuda/repack/tables.cuh"

namespace billfish::cuda::repack {
namespace {

constexpr int kWarps = 4;  // of a block
constexpr int kThreads = 32 * kWarps;

__device__ std::uint32_t padding_word(const Source& source, bool byte_a_code) {
  return (byte_a_code ? 0x01010101u : 0x11111111u) * static_cast<std::uint32_t>(implicit_zero(source.type));
}

// The first blocks do the tables, the others a strip a warp, n fastest.
template <class Strip>
__global__ void __launch_bounds__(kThreads) repack_strips(const __grid_constant__ Source source, const __grid_constant__ Tables tables,
                                                          std::uint32_t* target, unsigned table_blocks) {
  if (blockIdx.x < table_blocks) {
    return table_item<Strip::kBits>(source, tables, std::int64_t{blockIdx.x} * kThreads + threadIdx.x);
  }
  constexpr int row_units = kStripColumns / Strip::kUnitColumns;
  constexpr int tile_units = 8 * Strip::kBits;
  __shared__ __align__(16) std::uint32_t staged[kWarps][Strip::kRows * Strip::kStride];
  std::uint32_t* const rows = staged[threadIdx.x / 32];
  const int lane = threadIdx.x % 32;
  const auto strips_n = static_cast<unsigned>(ceil_div(source.padded_n(), kStripColumns));
  const unsigned item = (blockIdx.x - table_blocks) * kWarps + threadIdx.x / 32;
  const std::int64_t k_tile = item / strips_n, strip = item % strips_n;
  if (k_tile >= source.k / 16) return;

  const std::int64_t stride = source.n / Strip::kUnitColumns;
  const auto* from = static_cast<const uint4*>(source.codes) + k_tile * Strip::kRows * stride;
  const std::uint32_t padding = padding_word(source, Strip::kBits == 8 || Strip::kSpareBits != 0);
#pragma unroll
  for (int i = 0; i < Strip::kRows * row_units / 32; ++i) {
    const int row = (lane + 32 * i) / row_units, column = (lane + 32 * i) % row_units;
    std::uint32_t* to = rows + row * Strip::kStride + 4 * column;
    if (strip * row_units + column < stride) {
      ptx::async_copy_16(static_cast<std::uint32_t>(__cvta_generic_to_shared(to)), from + row * stride + strip * row_units + column);
    } else {
      *reinterpret_cast<uint4*>(to) = make_uint4(padding, padding, padding, padding);
    }
  }
  ptx::async_copy_commit();
  ptx::async_copy_wait<0>();
  __syncwarp();

  if (Strip::kSpareBits != 0 && tables.findings != nullptr) {
    std::uint32_t seen = 0;
    for (int i = lane; i < Strip::kRows * Strip::kStride; i += 32) {
      if (i % Strip::kStride < 4 * row_units) seen |= rows[i];  // beyond lie no codes
    }
    if ((seen & Strip::kSpareBits) != 0) report(tables.findings, kFoundBadCode);
  }
  const std::int64_t tiles = source.padded_n() / 64 - 4 * strip;
  auto* to = reinterpret_cast<uint4*>(target + layout::marlin_tile_begin(Strip::kBits, k_tile, 4 * strip, source.padded_n()));
#pragma unroll
  for (int i = 0; i < 4 * tile_units / 32; ++i) {
    const int tile = 32 * i / tile_units;
    if (tile < tiles) __stcs(to + 32 * i + lane, unit_of<Strip>(rows, Strip::kStride, tile, 32 * i % tile_units + lane));
  }
}

// A thread a word, code by code, from `first_k_tile` on.
template <int kBits>
__global__ void __launch_bounds__(256) repack_words(const __grid_constant__ Source source, std::uint32_t* target, const std::int32_t* perm,
                                                    std::int64_t first_k_tile, std::uint32_t* findings) {
  const unsigned item = blockIdx.x * (256 / (32 * kBits)) + threadIdx.x / (32 * kBits);
  const auto n_tiles = static_cast<unsigned>(source.padded_n() / 64);
  const std::int64_t n_tile = item % n_tiles;
  const std::int64_t k_tile = first_k_tile + item / n_tiles;
  if (16 * k_tile >= source.k) return;
  const int word = threadIdx.x % (32 * kBits);
  std::uint32_t out = 0;
  bool bad = false;
#pragma unroll 1
  for (int shift = 0; shift < 32; shift += kBits) {
    const layout::Element element = layout::marlin_code_element(kBits, word, shift, 64);
    const std::int64_t k = 16 * k_tile + element.k, n = 64 * n_tile + element.n;
    int code = implicit_zero(source.type);
    if (n < source.n) {
      // Padding of K holds the zero of its column, so that it contributes nothing.
      code = k < source.k ? code_at<kBits>(source, perm != nullptr ? perm[k] : k, n) : zero_at<kBits>(source, source.group_count - 1, n);
    }
    bad = bad || (k < source.k && code >> kBits != 0);
    out |= (static_cast<std::uint32_t>(code) & layout::field_mask(kBits)) << shift;
  }
  target[layout::marlin_tile_begin(kBits, k_tile, n_tile, source.padded_n()) + word] = out;
  if (bad && findings != nullptr) report(findings, kFoundBadCode);
}

template <int kBits>
void launch_words(const QuantizedMatrix& source, std::uint32_t* target, const std::int32_t* perm, std::int64_t first_k_tile,
                  std::uint32_t* findings, cudaStream_t stream) {
  const std::int64_t tiles = source.padded_n() / 64 * (source.padded_k() / 16 - first_k_tile);
  if (tiles == 0) return;
  const unsigned blocks = static_cast<unsigned>(ceil_div(tiles, 256 / (32 * kBits)));
  repack_words<kBits><<<blocks, 256, 0, stream>>>(Source(source), target, perm, first_k_tile, findings);
}

template <class Strip>
void launch_strips(const QuantizedMatrix& source, const PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream) {
  const Tables tables(source, target, findings);
  const std::int64_t table_blocks = ceil_div(tables.items(), kThreads);
  const std::int64_t strips = ceil_div(source.padded_n(), kStripColumns) * (source.k / 16);
  const unsigned blocks = static_cast<unsigned>(table_blocks + ceil_div(strips, kWarps));
  if (blocks == 0) return;
  repack_strips<Strip><<<blocks, kThreads, 0, stream>>>(Source(source), tables, target.codes, static_cast<unsigned>(table_blocks));
  launch_words<Strip::kBits>(source, target.codes, nullptr, source.k / 16, findings, stream);
}

// A block takes 16 rows: all of them into shared memory, then back as tiles. The rows and the tiles are the same bytes of memory.
template <class Strip>
__global__ void __launch_bounds__(256) repack_in_place(std::uint32_t* codes, std::int64_t n) {
  extern __shared__ uint4 rows[];
  constexpr int tile_units = 8 * Strip::kBits;
  const int units = static_cast<int>(layout::marlin_row_words(Strip::kBits, n) / 4);
  auto* here = reinterpret_cast<uint4*>(codes + blockIdx.x * layout::marlin_row_words(Strip::kBits, n));
  for (int i = threadIdx.x; i < units; i += 256) rows[i] = here[i];
  __syncthreads();
  const int stride = static_cast<int>(n) / Strip::kUnitColumns * 4;
  for (int i = threadIdx.x; i < units; i += 256) {
    here[i] = unit_of<Strip>(reinterpret_cast<const std::uint32_t*>(rows), stride, i / tile_units, i % tile_units);
  }
}

template <class Strip>
cudaError_t launch_in_place(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream) {
  const int bytes = static_cast<int>(in_place_bytes(target));
  const cudaError_t error = cudaFuncSetAttribute(repack_in_place<Strip>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  repack_in_place<Strip><<<static_cast<unsigned>(source.k / 16), 256, bytes, stream>>>(target.codes, source.n);
  return cudaSuccess;
}

bool is_gptq(const QuantizedMatrix& source) { return source.format == Format::gptq_v1 || source.format == Format::gptq_v2; }

}  // namespace

bool has_strips(const QuantizedMatrix& source) {
  const int unit_columns = source.format == Format::awq ? 32 : source.format == Format::raw ? 16 : 4;
  return (is_gptq(source) || source.format == Format::awq || source.format == Format::raw) && source.g_idx == nullptr &&
         source.n % unit_columns == 0 && reinterpret_cast<std::uintptr_t>(source.codes) % 16 == 0;
}

void strips(const QuantizedMatrix& source, const PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream) {
  const bool four = bits_of(source.type) == 4;
  if (source.format == Format::awq) return launch_strips<AwqStrip4>(source, target, findings, stream);
  if (is_gptq(source)) {
    return four ? launch_strips<GptqStrip4>(source, target, findings, stream) : launch_strips<GptqStrip8>(source, target, findings, stream);
  }
  return four ? launch_strips<RawStrip<4>>(source, target, findings, stream) : launch_strips<RawStrip<8>>(source, target, findings, stream);
}

void codes(const QuantizedMatrix& source, const PackedMatrix& target, const std::int32_t* perm, std::uint32_t* findings,
           cudaStream_t stream) {
  const auto launch = bits_of(source.type) == 4 ? launch_words<4> : launch_words<8>;
  launch(source, target.codes, perm, 0, findings, stream);
}

cudaError_t codes_in_place(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream) {
  if (source.format == Format::awq) return launch_in_place<AwqStrip4>(source, target, stream);
  if (bits_of(source.type) == 4) return launch_in_place<GptqStrip4>(source, target, stream);
  return launch_in_place<GptqStrip8>(source, target, stream);
}

}  // namespace billfish::cuda::repack
