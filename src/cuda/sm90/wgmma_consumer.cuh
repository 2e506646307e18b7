// SPDX-License-Identifier: Apache-2.0
// A consumer warpgroup's main loop: load words, decode them into A fragments, multiply with the stage's activations. Fragments are
// double-buffered: while the tensor cores work on step s, step s + 1 is decoded; nothing is drained at a stage or a group boundary.
#pragma once

#include <cuda_fp16.h>

#include "cuda/decode.cuh"
#include "cuda/ptx/load_shared.cuh"
#include "cuda/ptx/wgmma.cuh"
#include "cuda/sm90/wgmma_block.cuh"
#include "layout/marlin_scales.hpp"

namespace billfish::sm90 {

template <class V>
struct Consumer {
  using Codec = typename V::Codec;
  static constexpr int kTiles = V::kConfig.tiles;
  static constexpr int kBatch = V::kConfig.batch;
  static constexpr int kBatches = V::kSteps / kBatch;  // of a stage
  static constexpr int kBuffers = V::kConfig.buffers;
  static_assert(kBatches % kBuffers == 0, "the fragment buffer of a batch must be known at compile time");

  const WgmmaArguments& args;
  Shared<V> shared;
  int group;       // of warps, along the columns
  int warp, lane;  // within the warpgroup

  using Accumulators = float[kTiles][V::kAccumulators];

  // The warp's first block of 16 columns: 64-column block of the tile, and which quarter of it.
  __device__ int sub_block() const { return (group * 4 + warp) * kTiles; }

  struct Scales {
    std::uint32_t pair[kTiles];       // columns h = 0, 1 of a tile, packed
    std::uint32_t twice[kTiles][2];   // each column's scale in both halves
    std::uint32_t addend[kTiles][2];  // stored zeros only: what Decode wants of each column
    __device__ void spread() {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        twice[t][0] = __byte_perm(pair[t], 0, 0x1010);
        twice[t][1] = __byte_perm(pair[t], 0, 0x3232);
      }
    }
  };

  // `zeros`: of column h = 0 in the low half, of h = 1 in the high half.
  static __device__ void make_addends(std::uint32_t (&addend)[2], std::uint32_t zeros) {
    addend[0] = Codec::addend(0) + __byte_perm(zeros, 0, 0x1010);
    addend[1] = Codec::addend(0) + __byte_perm(zeros, 0, 0x3232);
  }

  // Scales of another 16-bit type than the activations' are converted as they are read.
  __device__ void convert(Scales& scales) const {
    if (args.scale_bf16 == static_cast<int>(V::kBf16)) return;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const std::uint32_t p = scales.pair[t];
      if constexpr (V::kBf16) {
        const float low = __half2float(__ushort_as_half(static_cast<unsigned short>(p)));
        const float high = __half2float(__ushort_as_half(static_cast<unsigned short>(p >> 16)));
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(scales.pair[t]) : "f"(high), "f"(low));
      } else {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(scales.pair[t]) : "f"(__uint_as_float(p & 0xffff0000u)), "f"(__uint_as_float(p << 16)));
      }
    }
  }

  __device__ void load_column_scales(Scales& scales, int n0) const {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      std::uint32_t value[2];
      std::uint32_t zeros = 0;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int n = n0 + 16 * (sub_block() + t) + 8 * h + lane / 4;
        value[h] = n < args.n ? args.scales[layout::marlin_column_scale(n)] : 0;
      }
      scales.pair[t] = value[0] | value[1] << 16;
      if constexpr (Codec::kZeros) {
        const int block = n0 / 64 + (sub_block() + t) / 4;
        if (block * 32 < args.zero_row_bytes) {
          const auto word = reinterpret_cast<const std::uint32_t*>(args.zeros)[block * 8 + lane / 4];
          zeros = (word >> (4 * ((sub_block() + t) % 4))) & 0x000f000fu;
        }
      }
      make_addends(scales.addend[t], zeros);
    }
    convert(scales);
    scales.spread();
  }

  // Row `row` of the stage: 64-column block b of a row has lane / 4's eight scales side by side, {t, h} in order.
  __device__ void load_scales(Scales& scales, int slot, int row) const {
    const int sub = sub_block();
    ptx::load_shared(scales.pair, shared.scales(slot) + row * V::kColumns * 2 + (sub / 4 * 64 + lane / 4 * 8 + sub % 4 * 2) * 2);
    convert(scales);
    scales.spread();
    if constexpr (Codec::kZeros) {
      std::uint32_t word[1];
      ptx::load_shared(word, shared.zeros(slot) + row * V::kColumns / 2 + (sub / 4 * 8 + lane / 4) * 4);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) make_addends(scales.addend[t], (word[0] >> (4 * (sub % 4 + t))) & 0x000f000fu);
    }
  }

  // Activations [tokens][64 k] with 128-byte swizzle: 8 tokens are 1024 bytes apart; a k16 step is 32 bytes on. In units of 16 bytes.
  __device__ std::uint32_t activations_of(int slot) const { return ((shared.activations(slot) & 0x3ffff) >> 4) + (1u << 16); }
  static __device__ std::uint64_t descriptor_of(std::uint32_t activations, int step) {
    constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62, kEightTokens = std::uint64_t{1024 / 16} << 32;
    return kSwizzle128 | kEightTokens | (activations + (step / 4 * (V::kConfig.tokens * 128) + step % 4 * 32) / 16);
  }

  __device__ std::uint32_t word_offset() const {
    const int sub = sub_block();
    const int block = sub / 4 * (128 * Codec::kBits);
    return block / V::kPartBytes * (V::kSteps * V::kPartBytes) + block % V::kPartBytes + lane * (4 * Codec::kBits) +
           sub % 4 * (4 * Codec::kWords);
  }

  using Words = std::uint32_t[kBatch][kTiles * Codec::kWords];
  using Fragment = std::uint32_t[kBatch][kTiles][4];

  __device__ void load_words(Words& words, int slot, int batch) const {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      ptx::load_shared(words[i], shared.weights(slot) + word_offset() + (batch * kBatch + i) * V::kPartBytes);
    }
  }

  template <bool kScaled>
  __device__ void decode(const std::uint32_t (&words)[kTiles * Codec::kWords], const Scales& scales,
                         std::uint32_t (&fragment)[kTiles][4]) const {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      Codec::block(words + t * Codec::kWords, scales.addend[t][0], scales.addend[t][1], fragment[t]);
      if constexpr (kScaled) {
#pragma unroll
        for (int i = 0; i < 4; ++i) fragment[t][i] = ptx::mul2<V::kBf16>(fragment[t][i], scales.twice[t][i % 2]);
      }
      // Keeps the last write of every register above wgmma_fence.
      asm volatile("" : "+r"(fragment[t][0]), "+r"(fragment[t][1]), "+r"(fragment[t][2]), "+r"(fragment[t][3])::"memory");
    }
  }

  // One batch on the tensor cores; returns when the buffer that comes next may be overwritten.
  __device__ void multiply(const Fragment& fragment, Accumulators& sums, std::uint32_t activations, int batch, int accumulate) const {
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const std::uint64_t descriptor = descriptor_of(activations, batch * kBatch + i);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) ptx::wgmma_rs<V::kBf16>(sums[t], fragment[i][t], descriptor, i > 0 ? 1 : accumulate);
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<kBuffers - 1>();
  }

  __device__ void release(int slot) const { shared.release(slot < 0 ? 0 : slot, lane, slot >= 0); }

  // Nothing reads sums before this.
  __device__ void finish(Accumulators& sums) const {
    ptx::wgmma_wait<0>();
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < V::kAccumulators; ++i) asm volatile("" : "+f"(sums[t][i])::"memory");
    }
  }

  // The sums of `work`'s stages.
  __device__ void multiply_tile(const Work& work, Ring<V>& ring, Accumulators& sums) const {
    if constexpr (V::kScaleSums) {
      multiply_scaled_sums(work, ring, sums);
    } else {
      multiply_scaled_weights(work, ring, sums);
    }
  }

 private:
  // The stages of `work`, with scaled weights: one chain of sums from the first step to the last.
  __device__ void multiply_scaled_weights(const Work& work, Ring<V>& ring, Accumulators& sums) const {
    Scales scales;
    if (!V::kFine && args.per_column) load_column_scales(scales, work.n0);
    Fragment fragments[kBuffers];
    int accumulate = 0;
    int previous = -1;
    for (int stage = work.begin; stage < work.end; ++stage) {
      ptx::mbarrier_wait(shared.full(ring.slot), ring.parity);
      const int slot = ring.slot;
      const std::uint32_t activations = activations_of(slot);
      const int row0 = V::kFine ? scale_row(args, stage * V::kSteps) : 0;
      Words words[2];
      load_words(words[0], slot, 0);
      if (!V::kFine && !args.per_column) load_scales(scales, slot, 0);
#pragma unroll
      for (int batch = 0; batch < kBatches; ++batch) {
        if (batch + 1 < kBatches) load_words(words[(batch + 1) % 2], slot, batch + 1);
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          if constexpr (V::kFine) {
            const int step = stage * V::kSteps + batch * kBatch + i;
            load_scales(scales, slot, scale_row(args, min(step, args.steps - 1)) - row0);
          }
          decode<true>(words[batch % 2][i], scales, fragments[batch % kBuffers][i]);
        }
        multiply(fragments[batch % kBuffers], sums, activations, batch, accumulate);
        accumulate = 1;
        if (kBuffers == 2 && batch == 0) release(previous);  // its last step has finished
      }
      if (kBuffers == 1) release(slot);
      previous = slot;
      ring.advance();
    }
    finish(sums);
    if (kBuffers == 2) release(previous);
  }

  // f32 scales of the columns h = 0, 1 of every tile.
  using SumScales = float[kTiles][2];

  static __device__ void scale_of_pair(const Scales& scales, SumScales& out) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      if constexpr (V::kBf16) {
        out[t][0] = __uint_as_float(scales.pair[t] << 16);
        out[t][1] = __uint_as_float(scales.pair[t] & 0xffff0000u);
      } else {
        out[t][0] = __half2float(__ushort_as_half(static_cast<unsigned short>(scales.pair[t])));
        out[t][1] = __half2float(__ushort_as_half(static_cast<unsigned short>(scales.pair[t] >> 16)));
      }
    }
  }

  static __device__ void fold(Accumulators& sums, const Accumulators& part, const SumScales& scale) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < V::kAccumulators; ++i) sums[t][i] = __fmaf_rn(part[t][i], scale[t][i / 2 % 2], sums[t][i]);
    }
  }

  // The stages of `work`, with exact weights: every stage has sums of its own, which its scale multiplies in f32.
  __device__ void multiply_scaled_sums(const Work& work, Ring<V>& ring, Accumulators& sums) const {
    static_assert(kBuffers == 1, "a stage's sums are read when its last batch has finished");
    Scales scales;
    if (args.per_column) load_column_scales(scales, work.n0);
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < V::kAccumulators; ++i) sums[t][i] = 0.0f;
    }
    for (int stage = work.begin; stage < work.end; ++stage) {
      ptx::mbarrier_wait(shared.full(ring.slot), ring.parity);
      const int slot = ring.slot;
      const std::uint32_t activations = activations_of(slot);
      Fragment fragment;
      Accumulators part;
      Words words[2];
      load_words(words[0], slot, 0);
      if (!args.per_column) load_scales(scales, slot, 0);
#pragma unroll
      for (int batch = 0; batch < kBatches; ++batch) {
        if (batch + 1 < kBatches) load_words(words[(batch + 1) % 2], slot, batch + 1);
#pragma unroll
        for (int i = 0; i < kBatch; ++i) decode<false>(words[batch % 2][i], scales, fragment[i]);
        multiply(fragment, part, activations, batch, batch > 0);
      }
      finish(part);
      release(slot);
      SumScales scale;
      scale_of_pair(scales, scale);
      fold(sums, part, scale);
      ring.advance();
    }
  }
};

}  // namespace billfish::sm90
