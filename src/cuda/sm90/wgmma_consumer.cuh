// SPDX-License-Identifier: Apache-2.0
// A consumer warpgroup's main loop: load words, decode them into A fragments, multiply with the stage's activations. Fragments are
// double-buffered: while the tensor cores work on step s, step s + 1 is decoded; nothing is drained at a stage or a group boundary.
#pragma once

#include <cuda_fp16.h>

#include "cuda/decode.cuh"
#include "cuda/ptx/wgmma.cuh"
#include "cuda/sm90/wgmma_block.cuh"
#include "layout/marlin_scales.hpp"

namespace billfish::sm90 {

template <int kWords>
__device__ void load_shared(std::uint32_t (&words)[kWords], std::uint32_t address) {
  if constexpr (kWords == 1) {
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(words[0]) : "r"(address));
  } else if constexpr (kWords == 2) {
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(words[0]), "=r"(words[1]) : "r"(address));
  } else {
#pragma unroll
    for (int i = 0; i < kWords; i += 4) {
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(words[i]), "=r"(words[i + 1]), "=r"(words[i + 2]), "=r"(words[i + 3])
                   : "r"(address + i * 4));
    }
  }
}

template <class V>
struct Consumer {
  using Codec = typename V::Codec;
  static constexpr int kTiles = V::kConfig.tiles;
  static constexpr int kOwnSteps = V::kSteps / V::kConfig.groups_k;
  static_assert(kOwnSteps % 2 == 0, "the fragment buffer of a step must be known at compile time");

  const WgmmaArguments& args;
  Shared<V> shared;
  int group_n, group_k;  // place of the warpgroup
  int warp, lane;        // within the warpgroup

  using Accumulators = float[kTiles][V::kAccumulators];

  // The warp's first block of 16 columns: 64-column block of the tile, and which quarter of it.
  __device__ int sub_block() const { return (group_n * 4 + warp) * kTiles; }

  struct Scales {
    std::uint32_t pair[kTiles];      // columns h = 0, 1 of a tile, packed
    std::uint32_t twice[kTiles][2];  // each column's scale in both halves
    std::uint32_t addend[kTiles][2]; // stored zeros only: what Decode wants of each column
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
    load_shared(scales.pair, shared.scales(slot) + row * V::kColumns * 2 + (sub / 4 * 64 + lane / 4 * 8 + sub % 4 * 2) * 2);
    convert(scales);
    scales.spread();
    if constexpr (Codec::kZeros) {
      std::uint32_t word[1];
      load_shared(word, shared.zeros(slot) + row * V::kColumns / 2 + (sub / 4 * 8 + lane / 4) * 4);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) make_addends(scales.addend[t], (word[0] >> (4 * (sub % 4 + t))) & 0x000f000fu);
    }
  }

  // Activations [tokens][64 k] with 128-byte swizzle: 8 tokens are 1024 bytes apart; a k16 step is 32 bytes on.
  __device__ std::uint64_t activations_descriptor(int slot, int step) const {
    const std::uint32_t address = shared.activations(slot) + step / 4 * (V::kConfig.tokens * 128) + step % 4 * 32;
    return (std::uint64_t{1} << 62) | (std::uint64_t{64} << 32) | (std::uint64_t{1} << 16) | ((address & 0x3ffff) >> 4);
  }

  __device__ void multiply_tile(const Work& work, Ring<V>& ring, Accumulators& accumulators) const {
    constexpr int kWords = kTiles * Codec::kWords;
    const int sub = sub_block();
    const std::uint32_t word_offset = sub / 4 * (128 * Codec::kBits) + lane * (4 * Codec::kBits) + sub % 4 * (4 * Codec::kWords);
    Scales scales;
    if (!V::kFine && args.per_column) load_column_scales(scales, work.n0);
    std::uint32_t fragments[2][kTiles][4];
    int accumulate = 0;
    int previous = -1;
    for (int stage = work.begin; stage < work.end; ++stage) {
      ptx::mbarrier_wait(shared.full(ring.slot), ring.parity);
      const int slot = ring.slot;
      const int row0 = V::kFine ? scale_row(args, stage * V::kSteps) : 0;
      if (!V::kFine && !args.per_column) load_scales(scales, slot, 0);
#pragma unroll
      for (int own = 0; own < kOwnSteps; ++own) {
        const int step = own * V::kConfig.groups_k + group_k;
        std::uint32_t words[kWords];
        load_shared(words, shared.weights(slot) + step * V::kRowBytes + word_offset);
        if constexpr (V::kFine) {
          const int last = args.steps - 1;
          load_scales(scales, slot, scale_row(args, min(stage * V::kSteps + step, last)) - row0);
        }
        auto& fragment = fragments[own % 2];
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          std::uint32_t block[Codec::kWords];
#pragma unroll
          for (int i = 0; i < Codec::kWords; ++i) block[i] = words[t * Codec::kWords + i];
          Codec::block(block, scales.addend[t][0], scales.addend[t][1], fragment[t]);
#pragma unroll
          for (int i = 0; i < 4; ++i) fragment[t][i] = ptx::mul2<V::kBf16>(fragment[t][i], scales.twice[t][i % 2]);
          asm volatile("" : "+r"(fragment[t][0]), "+r"(fragment[t][1]), "+r"(fragment[t][2]), "+r"(fragment[t][3])::"memory");
        }
        ptx::wgmma_fence();
        const std::uint64_t descriptor = activations_descriptor(slot, step);
#pragma unroll
        for (int t = 0; t < kTiles; ++t) ptx::wgmma_rs<V::kBf16>(accumulators[t], fragment[t], descriptor, accumulate);
        ptx::wgmma_commit();
        accumulate = 1;
        ptx::wgmma_wait<1>();
        // Every step before this one has finished: the previous stage can be filled again.
        if (own == 0) ptx::mbarrier_arrive_if(shared.empty(previous < 0 ? slot : previous), lane == 0 && previous >= 0);
      }
      previous = slot;
      ring.advance();
    }
    ptx::wgmma_wait<0>();
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < V::kAccumulators; ++i) asm volatile("" : "+f"(accumulators[t][i])::"memory");
    }
    ptx::mbarrier_arrive_if(shared.empty(previous < 0 ? 0 : previous), lane == 0 && previous >= 0);
  }
};

}  // namespace billfish::sm90
