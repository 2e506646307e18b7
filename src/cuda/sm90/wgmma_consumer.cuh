// SPDX-License-Identifier: Apache-2.0
// A consumer warpgroup's main loop: load words, decode them into A fragments, multiply with the stage's activations. One stream of batches
// from the first step of a tile to the last: while the tensor cores work on a batch, the next is decoded, also where that is the next
// stage's first. Where the scale multiplies sums, a stage's are added up last thing before the next one's (parts: 1) or under them (2).
#pragma once

#include "cuda/decode.cuh"
#include "cuda/ptx/load_shared.cuh"
#include "cuda/ptx/wgmma.cuh"
#include "cuda/sm90/wgmma_block.cuh"
#include "cuda/sm90/wgmma_scales.cuh"

namespace billfish::sm90 {

template <class V>
struct Consumer {
  using Codec = typename V::Codec;
  static constexpr int kTiles = V::kConfig.tiles;
  static constexpr int kBatch = V::kConfig.batch;
  static constexpr int kBatches = V::kSteps / kBatch;  // of a stage
  static constexpr int kBuffers = V::kConfig.kBuffers;
  static constexpr int kParts = V::kScaleSums ? V::kConfig.parts : 0;  // sets of a stage's sums
  // A stage's first words are loaded before the last batch of the stage before is put on the tensor cores, where registers allow.
  static constexpr bool kEarlyWords = kBatches > 1 && (kParts == 1 || V::kConfig.blocks_per_sm == 1) && kTiles* Codec::kWords <= 2;
  static_assert(kBatches % kBuffers == 0, "the fragment buffer of a batch must be known at compile time");
  static_assert(kBatches == 1 || kBatches % 2 == 0, "and so must its words");
  // Rows of scales that a batch has of its own, and the steps that each is for.
  static constexpr int kRowSteps = V::kGrain == Grain::pairs && kBatch > 1 ? 2 : 1;
  static constexpr int kRows = V::kGrain == Grain::stage ? 0 : kBatch / kRowSteps;

  const WgmmaArguments& args;
  Shared<V> shared;
  int group;       // of warps, along the columns
  int warp, lane;  // within the warpgroup
  Places<V> places;

  __device__ Consumer(const WgmmaArguments& arguments, const Shared<V>& memory, int group_at, int warp_at, int lane_at)
      : args(arguments), shared(memory), group(group_at), warp(warp_at), lane(lane_at), places(memory, sub_block(), lane_at) {}

  using Accumulators = float[kTiles][V::kAccumulators];

  // The lane's first block of 16 columns: 64-column block of the tile, and which quarter of it. Eight lanes in a row (two columns of a
  // block, and the two 8 on) have another quarter than the next eight: the warp's words would lie in 8 banks, so they lie in all 32.
  static __device__ int sub_block_of(int group, int warp, int lane) {
    const int sub = (group * 4 + warp) * kTiles;
    return sub / 4 * 4 + (sub + lane / 8 * kTiles) % 4;
  }
  __device__ int sub_block() const { return sub_block_of(group, warp, lane); }

  // Of a slot's first k16 step. All 64 bits of it are known only at run time: ptxas then adds to them as a whole, an instruction a step,
  // where it would put each together from its halves.
  __device__ std::uint64_t descriptor_of(int slot) const {
    return args.activations_descriptor + static_cast<std::uint32_t>((shared.activations(0) >> 4) + slot * (V::kMap.stage / 16));
  }

  using Words = std::uint32_t[kBatch][kTiles * Codec::kWords];
  using Fragment = std::uint32_t[kBatch][kTiles][4];

  __device__ void load_words(Words& words, int slot, int batch) const {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      ptx::load_shared(words[i], places.words_of(slot, batch * kBatch + i));
    }
  }

  __device__ void release(int slot) const { shared.release(slot, lane); }

  // Nothing reads sums before this.
  static __device__ void finish(Accumulators& sums) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < V::kAccumulators; ++i) asm volatile("" : "+f"(sums[t][i])::"memory");
    }
  }

  // The sums of `work`'s stages, of which there is at least one.
  __device__ void multiply_tile(const Work& work, Ring<V>& ring, Accumulators& sums) const {
    Flow flow{sums, ring};
    if (kRows == 0 && args.per_column) flow.scales.load_columns(args, work.n0, sub_block(), lane);
    if constexpr (kParts > 0) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int i = 0; i < V::kAccumulators; ++i) sums[t][i] = 0.0f;
      }
    }
    int stage = work.begin;  // for scales of small groups
    int left = work.end - work.begin;
    enter(flow, stage);
    decode_batch(flow, stage, 0);
    multiply<0>(flow, flow.slot, 0, 0);
    while (true) {
      finish_stage<0>(flow, stage);
      ++stage;
      const bool more = --left > 0;
      if constexpr (kParts == 1) {  // the next stage's sums have the same registers: as much as can be is done before these are awaited
        const int slot = flow.slot;
        if (more) prepare_stage(flow, stage);
        ptx::wgmma_wait<0>();
        leave_stage<0>(flow, slot);
        if (!more) return;
        multiply<0>(flow, flow.slot, 0, 0);
      } else {
        if (!more) break;
        next_stage<0>(flow, stage);
      }
      if constexpr (kParts == 2) {
        finish_stage<1>(flow, stage);
        ++stage;
        if (--left == 0) {
          ptx::wgmma_wait<0>();
          leave_stage<1>(flow, flow.slot);
          return;
        }
        next_stage<1>(flow, stage);
      }
    }
    ptx::wgmma_wait<0>();
    leave_stage<0>(flow, flow.slot);
    if constexpr (kParts == 0) finish(sums);
  }

 private:
  // What a tile's stages hand on, in registers.
  struct Flow {
    __device__ Flow(Accumulators& s, Ring<V>& r) : sums(s), ring(r) {}  // the rest stays as it is until it is needed
    Accumulators& sums;
    Ring<V>& ring;              // stands at the slot that comes next
    int slot;                   // that is being multiplied
    bool next_is_here = false;  // looked at, not waited for: a wait costs 110 clocks even then
    Words words[2];
    Scales<V> scales;                          // of the stage, if it has one row of them
    Scales<V> rows[2][kRows > 0 ? kRows : 1];  // else of the words
    Fragment fragments[kBuffers];
    Accumulators parts[kParts > 0 ? kParts : 1];
    std::uint32_t pair[kTiles];  // kParts: the scales of the stage that is being multiplied
  };

  // Waits for the next slot, unless it is known to be here, and loads what its first two batches are decoded from.
  __device__ void enter(Flow& flow, int stage) const {
    flow.slot = flow.ring.slot;
    if (!flow.next_is_here) {
      ptx::mbarrier_wait(shared.full(flow.slot), flow.ring.parity);
      if constexpr (kEarlyWords) load_words(flow.words[0], flow.slot, 0);
    }
    if constexpr (!kEarlyWords) load_words(flow.words[0], flow.slot, 0);
    if constexpr (kRows == 0) {
      flow.scales.load_row(places, flow.slot, 0, args.per_column == 0);
      flow.scales.finish_row(args, places, args.per_column == 0);
    }
    load_rows(flow, stage, 0);
    if constexpr (kBatches > 1) {
      load_words(flow.words[1], flow.slot, 1);
      load_rows(flow, stage, 1);
    }
    flow.ring.advance();
  }

  // The first words of the slot that comes next, if it is here.
  __device__ void load_early(Flow& flow) const {
    if constexpr (kEarlyWords) {
#pragma unroll
      for (int i = 0; i < kBatch; ++i) ptx::load_shared_if(flow.next_is_here, flow.words[0][i], places.words_of(flow.ring.slot, i));
    }
  }

  // Of a stage's rows of scales, the one for its `step`.
  __device__ int row_of(int stage, int step) const {
    if constexpr (V::kGrain == Grain::pairs) return step / 2 >> args.pairs_shift;
    const int first = stage * V::kSteps;
    return scale_row(args, min(first + step, args.steps - 1)) - scale_row(args, first);
  }

  __device__ void load_rows(Flow& flow, int stage, int batch) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) flow.rows[batch % 2][i].load_row(places, flow.slot, row_of(stage, batch * kBatch + i * kRowSteps));
  }

  // Decodes a batch whose words have been loaded, and loads those of the batch after the next in their place.
  __device__ void decode_batch(Flow& flow, int stage, int batch) const {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      Scales<V>& scales = kRows == 0 ? flow.scales : flow.rows[batch % 2][i / kRowSteps];
      if (kRows > 0 && i % kRowSteps == 0) scales.finish_row(args, places);
      decode(flow.words[batch % 2][i], scales, flow.fragments[batch % kBuffers][i]);
    }
    if (batch + 2 < kBatches) {
      load_words(flow.words[batch % 2], flow.slot, batch + 2);
      load_rows(flow, stage, batch + 2);
    }
  }

  static __device__ void decode(const std::uint32_t (&words)[kTiles * Codec::kWords], const Scales<V>& scales,
                                std::uint32_t (&fragment)[kTiles][4]) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      if constexpr (Scales<V>::kInPlace) {
        Codec::block_in_place(words + t, scales.addend[t][0], scales.addend[t][1], scales.in_place_addend[t][0],
                              scales.in_place_addend[t][1], fragment[t]);
      } else {
        Codec::block(words + t * Codec::kWords, scales.addend[t][0], scales.addend[t][1], fragment[t]);
      }
      if constexpr (!V::kScaleSums) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          fragment[t][i] = ptx::mul2<V::kBf16>(fragment[t][i], i % 2 == 0 ? ptx::both_low(scales.pair[t]) : ptx::both_high(scales.pair[t]));
        }
      }
      // Keeps the last write of every register above wgmma_fence.
      asm volatile("" : "+r"(fragment[t][0]), "+r"(fragment[t][1]), "+r"(fragment[t][2]), "+r"(fragment[t][3])::"memory");
    }
  }

  // Puts a batch on the tensor cores.
  template <int kPart>
  __device__ void multiply(Flow& flow, int slot, int batch, int accumulate) const {
    Accumulators& sums = kParts > 0 ? flow.parts[kPart] : flow.sums;
    const Fragment& fragment = flow.fragments[batch % kBuffers];
    const std::uint64_t first = descriptor_of(slot);
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int step = batch * kBatch + i;
      const std::uint64_t descriptor = first + (step / 4 * (V::kConfig.tokens * 128) + step % 4 * 32) / 16;
#pragma unroll
      for (int t = 0; t < kTiles; ++t) ptx::wgmma_rs<V::kBf16>(sums[t], fragment[i][t], descriptor, i > 0 ? 1 : accumulate);
    }
    ptx::wgmma_commit();
  }

  // The batches of a stage after its first, which is on its way.
  template <int kPart>
  __device__ void finish_stage(Flow& flow, int stage) const {
    flow.next_is_here = ptx::mbarrier_is_complete(shared.full(flow.ring.slot), flow.ring.parity);
#pragma unroll
    for (int batch = 1; batch < kBatches; ++batch) {
      ptx::wgmma_wait<kBuffers - 1>();
      decode_batch(flow, stage, batch);
      if (kEarlyWords && batch == kBatches - 1) load_early(flow);
      multiply<kPart>(flow, flow.slot, batch, 1);
    }
    if constexpr (kParts > 0) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) flow.pair[t] = flow.scales.pair[t];
    }
  }

  __device__ void prepare_stage(Flow& flow, int stage) const {
    enter(flow, stage);
    ptx::wgmma_wait<kBuffers - 1>();
    decode_batch(flow, stage, 0);
  }

  // Puts the first batch of the stage that comes next on its way and takes leave of the stage before.
  template <int kPart>
  __device__ void next_stage(Flow& flow, int stage) const {
    const int slot = flow.slot;
    prepare_stage(flow, stage);
    multiply<1 - kPart>(flow, flow.slot, 0, kParts == 0);
    ptx::wgmma_wait<1>();
    leave_stage<kPart>(flow, slot);
  }

  // All of a stage's products are there.
  template <int kPart>
  __device__ void leave_stage(Flow& flow, int slot) const {
    release(slot);
    if constexpr (kParts > 0) {
      finish(flow.parts[kPart]);
      add_scaled<V>(flow.sums, flow.parts[kPart], flow.pair, args.scale_bf16 != 0);
    }
  }
};

}  // namespace billfish::sm90
