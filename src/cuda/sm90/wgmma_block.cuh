// SPDX-License-Identifier: Apache-2.0
// What the roles of a block share: the variant they are compiled for, where things lie in shared memory, and the walk over tiles, stages.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/decode.cuh"
#include "cuda/ptx/barrier.cuh"
#include "cuda/sm90/wgmma_arguments.hpp"
#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::sm90 {

using cuda::Decode;

template <int kPolicy, WeightType kWeight, bool kIsBf16, bool kIsFine>
struct Variant {
  using Codec = Decode<kWeight, kIsBf16>;  // the seam for weight types
  static constexpr WgmmaConfig kConfig = config_of(kPolicy, Codec::kBits);
  static constexpr bool kBf16 = kIsBf16;
  static constexpr bool kFine = kIsFine;
  static constexpr bool kScaleSums = kConfig.scale_sums && !kIsFine;
  static constexpr SharedMap kMap = shared_map(kConfig, Codec::kBits, Codec::kZeros, kFine);
  static constexpr int kColumns = kConfig.columns();
  static constexpr int kSteps = kConfig.stage_k / 16;   // k16 steps of a stage
  static constexpr int kPanels = kConfig.stage_k / 64;  // 128-byte wide panels of activations
  // A k16 step of weights, in parts of the 2 KB that are the most a tensor map's box may be wide; a part's steps lie together.
  static constexpr int kRowBytes = kColumns * Codec::kBits * 2;
  static constexpr int kPartBytes = kRowBytes < 2048 ? kRowBytes : 2048;
  static constexpr int kParts = kRowBytes / kPartBytes;
  static constexpr int kAccumulators = kConfig.tokens / 2;  // a thread and m64 tile
  static constexpr int kStages = kMap.stages;
  static_assert(kStages >= 2, "a slot is released one stage late");
  static constexpr bool kWholeAlone = sums_whole(kConfig, 1);  // without splits no sums are exchanged
  // After setmaxnreg: a block trades within what it got at launch, 168 a thread of 384 or 96 of 640.
  static constexpr int kProducerRegisters = kConfig.consumer_warps() == 8 ? 40 : 24;
  static constexpr int kConsumerRegisters = kConfig.consumer_warps() == 8 ? 232 : 112;
};

// Shared-memory addresses of a block.
template <class V>
struct Shared {
  std::uint32_t base;
  __device__ std::uint32_t activations(int slot) const { return base + slot * V::kMap.stage; }
  __device__ std::uint32_t weights(int slot) const { return activations(slot) + V::kMap.activations; }
  __device__ std::uint32_t scales(int slot) const { return weights(slot) + V::kMap.weights; }
  __device__ std::uint32_t zeros(int slot) const { return scales(slot) + V::kMap.scales; }
  __device__ std::uint32_t after_stages() const { return base + V::kStages * V::kMap.stage; }
  __device__ std::uint32_t sums() const { return V::kConfig.alias_sums ? base : after_stages(); }
  __device__ std::uint32_t staging() const { return after_stages() + V::kMap.sums; }
  __device__ std::uint32_t barriers() const { return staging() + V::kMap.staging; }
  __device__ std::uint32_t full(int slot) const { return barriers() + slot * 16; }
  __device__ std::uint32_t empty(int slot) const { return barriers() + slot * 16 + 8; }
  __device__ std::uint32_t exchange() const { return barriers() + V::kStages * 16; }
};

// Which part of C and K a block computes: tiles in an order that keeps weights and activations of neighbours in L2.
struct Work {
  int m0, n0;      // first token and column of the tile
  int begin, end;  // stages
};

constexpr int kTokenTilesDeep = 8;  // tiles along M that run side by side: their weights are read from memory once

template <class V>
__device__ Work work_of(const WgmmaArguments& args, int tile, int rank) {
  const int deep = kTokenTilesDeep * args.tiles_n;
  const int band = tile / deep;
  const int height = min(kTokenTilesDeep, args.tiles_m - band * kTokenTilesDeep);
  const int inside = tile - band * deep;
  const int column = inside / height;
  Work work;
  work.m0 = (band * kTokenTilesDeep + inside - column * height) * V::kConfig.tokens;
  work.n0 = column * V::kColumns;
  const unsigned stages = (args.steps + V::kSteps - 1) / V::kSteps;
  work.begin = static_cast<int>(stages * rank / static_cast<unsigned>(args.splits));
  work.end = static_cast<int>(stages * (rank + 1) / static_cast<unsigned>(args.splits));
  return work;
}

// Row of scales that k16 step `step` uses.
inline __device__ int scale_row(const WgmmaArguments& args, int step) {
  return static_cast<int>(__umulhi(static_cast<unsigned>(step), args.group_magic) + static_cast<unsigned>(step) * args.group_identity);
}

// A slot of the ring and the parity of its current use.
template <class V>
struct Ring {
  int slot = 0;
  int parity = 0;
  __device__ void advance() {
    if (++slot == V::kStages) {
      slot = 0;
      parity ^= 1;
    }
  }
};

}  // namespace billfish::sm90
