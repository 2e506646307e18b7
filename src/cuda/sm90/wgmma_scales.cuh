// SPDX-License-Identifier: Apache-2.0
// A lane's scales and stored zeros: of a stage's rows in shared memory, or of whole columns; and what they do to a stage's sums. Called by
// the consumer's main loop.
#pragma once

#include <cuda_fp16.h>

#include "cuda/ptx/load_shared.cuh"
#include "cuda/sm90/wgmma_block.cuh"
#include "layout/marlin_scales.hpp"

namespace billfish::sm90 {

// Where a lane's words and scales lie in a slot.
template <class V>
struct Places {
  using Codec = typename V::Codec;

  int sub_block;  // the lane's first block of 16 columns

  __device__ Places(const Shared<V>& shared, int sub_block_of_lane, int lane) : sub_block(sub_block_of_lane) {
    const int block = sub_block / 4 * (128 * Codec::kBits);
    words = held(shared.weights(0) + block / V::kPartBytes * (V::kSteps * V::kPartBytes) + block % V::kPartBytes +
                 lane * (4 * Codec::kBits) + sub_block % 4 * (4 * Codec::kWords));
    const int column = sub_block / 4 * 64;
    scales = held(shared.scales(0) + column / scale_columns(V::kConfig) * V::kScalePartBytes +
                  (column % scale_columns(V::kConfig) + lane / 4 * 8 + sub_block % 4 * 2) * 2);
    zeros = Codec::kZeros ? held(shared.zeros(0) + (sub_block / 4 * 8 + lane / 4) * 4) : 0;
  }

  __device__ std::uint32_t words_of(int slot, int step) const { return words + slot * V::kMap.stage + step * V::kPartBytes; }
  __device__ std::uint32_t scales_of(int slot, int row) const {
    return scales + slot * V::kMap.stage + row * scale_columns(V::kConfig) * 2;
  }
  __device__ std::uint32_t zeros_of(int slot, int row) const { return zeros + slot * V::kMap.stage + row * V::kColumns / 2; }

 private:
  std::uint32_t words, scales, zeros;  // in the first slot

  // The lane's own value, as something that cannot be worked out again: ptxas would, a dozen instructions a stage, to save the register.
  // Where there is none to spare, it may.
  static __device__ std::uint32_t held(std::uint32_t value) {
    constexpr bool kIsTight = V::kConfig.blocks_per_sm == 2 && V::kConfig.tokens >= 64;
    return kIsTight ? value : __shfl_sync(~0u, value, static_cast<int>(threadIdx.x) % 32);
  }
};

template <class V>
struct Scales {
  using Codec = typename V::Codec;
  static constexpr int kTiles = V::kConfig.tiles;

  std::uint32_t pair[kTiles];       // columns h = 0, 1 of a tile, packed; in the activations' type where they multiply the weights
  std::uint32_t zeros[1];           // stored zeros only: of all columns of the lane, packed
  std::uint32_t addend[kTiles][2];  // stored zeros only: what Decode wants of each column
  // And what it wants of codes that stay where they are: two instructions a word fewer, where registers allow.
  static constexpr bool kInPlace = Codec::kZeros && Codec::kInPlace && kTiles * V::kConfig.blocks_per_sm < 4;
  std::uint32_t in_place_addend[kTiles][2];

  __device__ void load_columns(const WgmmaArguments& args, int n0, int sub_block, int lane) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      std::uint32_t value[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int n = n0 + 16 * (sub_block + t) + 8 * h + lane / 4;
        value[h] = n < args.n ? args.scales[layout::marlin_column_scale(n)] : 0;
      }
      pair[t] = value[0] | value[1] << 16;
    }
    if constexpr (Codec::kZeros) {
      const int block = n0 / 64 + sub_block / 4;
      zeros[0] = 0;
      if (block * 32 < args.zero_row_bytes) zeros[0] = reinterpret_cast<const std::uint32_t*>(args.zeros)[block * 8 + lane / 4];
    }
    make_addends(sub_block);
    if (converts(args)) convert();
  }

  // Row `row` of the stage: 64-column block b of a row has lane / 4's eight scales side by side, {t, h} in order. Nothing is loaded where
  // scales are per column: those stay. Predicated loads, because a branch would keep the words' loads from being scheduled with them.
  __device__ void load_row(const Places<V>& places, int slot, int row, bool wanted = true) {
    ptx::load_shared_if(wanted, pair, places.scales_of(slot, row));
    if constexpr (Codec::kZeros) ptx::load_shared_if(wanted, zeros, places.zeros_of(slot, row));
  }

  // Before it is used.
  __device__ void finish_row(const WgmmaArguments& args, const Places<V>& places, bool wanted = true) {
    make_addends(places.sub_block);
    if (wanted && converts(args)) convert();
  }

 private:
  __device__ void make_addends(int sub_block) {
    if constexpr (Codec::kZeros) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const std::uint32_t both = (zeros[0] >> (4 * (sub_block % 4 + t))) & 0x000f000fu;
        addend[t][0] = Codec::addend(0) + __byte_perm(both, 0, 0x1010);
        addend[t][1] = Codec::addend(0) + __byte_perm(both, 0, 0x3232);
        if constexpr (kInPlace) {
#pragma unroll
          for (int h = 0; h < 2; ++h) in_place_addend[t][h] = Codec::in_place_addend_of(addend[t][h]);
        }
      }
    }
  }

  // Scales of another 16-bit type than the activations', that are to multiply weights.
  static __device__ bool converts(const WgmmaArguments& args) { return !V::kScaleSums && args.scale_bf16 != static_cast<int>(V::kBf16); }
  __device__ void convert() {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const std::uint32_t p = pair[t];
      if constexpr (V::kBf16) {
        const float low = __half2float(__ushort_as_half(static_cast<unsigned short>(p)));
        const float high = __half2float(__ushort_as_half(static_cast<unsigned short>(p >> 16)));
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair[t]) : "f"(high), "f"(low));
      } else {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair[t]) : "f"(__uint_as_float(p & 0xffff0000u)), "f"(__uint_as_float(p << 16)));
      }
    }
  }
};

// Adds a stage's sums, of exact weights, to a tile's, each column's times its scale, of whichever 16-bit type.
template <class V, int kCount>
__device__ void add_scaled(float (&sums)[V::kConfig.tiles][kCount], const float (&part)[V::kConfig.tiles][kCount],
                           const std::uint32_t (&pair)[V::kConfig.tiles], bool scale_bf16) {
#pragma unroll
  for (int t = 0; t < V::kConfig.tiles; ++t) {
    float scale[2] = {__half2float(__ushort_as_half(static_cast<unsigned short>(pair[t]))),
                      __half2float(__ushort_as_half(static_cast<unsigned short>(pair[t] >> 16)))};
    if (scale_bf16) {
      scale[0] = __uint_as_float(pair[t] << 16);
      scale[1] = __uint_as_float(pair[t] & 0xffff0000u);
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[t][i] = __fmaf_rn(part[t][i], scale[i / 2 % 2], sums[t][i]);
  }
}

}  // namespace billfish::sm90
