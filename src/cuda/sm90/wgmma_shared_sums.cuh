// SPDX-License-Identifier: Apache-2.0
// A tile that several blocks share: each leaves its sums in the workspace and adds up a part of the tile (Meeting): what it has in its
// registers, then what the others left, in their order. A block may wait for later ones, of which there are few.
#pragma once

#include "cuda/ptx/flag.cuh"
#include "cuda/ptx/left_values.cuh"
#include "cuda/sm90/wgmma_epilogue.cuh"

namespace billfish::sm90 {

template <class V>
struct SharedSums {
  using Accumulators = typename Consumer<V>::Accumulators;

  const Epilogue<V>& epilogue;
  const Visit& visit;

  // All chunks but those that this block adds up itself from its registers.
  __device__ void leave(const Accumulators& sums) const {
    const int used = Chunks<V>::used(epilogue.args.m - visit.m0);
    float* const slot = values() + Chunks<V>::slot_of(visit.meeting, visit.meeting.before);
#pragma unroll
    for (int t = 0; t < V::kConfig.tiles; ++t) {
#pragma unroll
      for (int i = 0; i < Chunks<V>::kOfPart; ++i) {
        const int chunk = t * used + i;
        if (i >= used || (chunk >= visit.first && chunk < visit.last)) continue;
#pragma unroll
        for (int panel = i * kAtOnce; panel < (i + 1) * kAtOnce; ++panel) {
          const float* const s = &sums[t][panel * 4];
          const float4 four = make_float4(s[0], s[1], s[2], s[3]);
          if constexpr (kByValue) {
            ptx::leave_values(slot + place_of(t, panel), four);
          } else {
            *reinterpret_cast<float4*>(slot + place_of(t, panel)) = four;
          }
        }
      }
    }
    if constexpr (!kByValue) {
      __syncwarp();
      if (epilogue.lane == 0 && visit.takers > 0) ptx::set_flag(flag_of(visit.meeting.before), static_cast<unsigned>(visit.takers));
    }
  }

  // This block's chunks, one after the other, to C.
  __device__ void collect(const Accumulators& sums) const {
    if (visit.first >= visit.last) return;
    epilogue.await_staging();
    if constexpr (kByValue) {
      collect_values(sums);
    } else {
      collect_flagged(sums);
    }
  }

 private:
  static constexpr int kAtOnce = Chunks<V>::kAtOnce;
  static constexpr int kThreads = Chunks<V>::kThreads;
  static constexpr bool kByValue = V::kConfig.by_value();
  using Chunk = typename Epilogue<V>::Chunk;
  using At = typename Epilogue<V>::At;

  // This thread's values in the first slot.
  __device__ float* values() const { return epilogue.args.slots + ((epilogue.group * 4 + epilogue.warp) * 32 + epilogue.lane) * 4; }
  // In a slot.
  static __device__ unsigned place_of(int t, int panel) { return (t * Chunks<V>::kPanels + panel) * (kThreads * 4); }

  static __device__ void add(Chunk& whole, int panel, const float4& v) {
    whole[panel * 4] += v.x, whole[panel * 4 + 1] += v.y, whole[panel * 4 + 2] += v.z, whole[panel * 4 + 3] += v.w;
  }

  __device__ int others() const { return visit.meeting.blocks() - 1; }
  // Number of another block among all.
  __device__ int block_of(int other) const { return other + (other >= visit.meeting.before ? 1 : 0); }
  __device__ float* slot_of(int other) const { return values() + Chunks<V>::slot_of(visit.meeting, block_of(other)); }

  // Values of some blocks at once: those that have not come are looked at again.
  __device__ void collect_values(const Accumulators& sums) const {
#pragma unroll 1
    for (int chunk = visit.first; chunk < visit.last; ++chunk) {
      const At where = epilogue.at(chunk);
      const unsigned place = place_of(where.t, where.i * kAtOnce);
      Chunk whole;
      epilogue.begin(whole, sums, where);
#pragma unroll 1
      for (int first = 0; first < others(); first += Chunks<V>::kBeside) add_values(whole, first, place);
      epilogue.end(whole, where);
#pragma unroll 1
      for (int i = 0; i < others(); ++i) {  // last, because stores wait for each other
#pragma unroll
        for (int panel = 0; panel < kAtOnce; ++panel) ptx::put_zeros_back(slot_of(i) + place + panel * (kThreads * 4));
      }
    }
  }
  __device__ void add_values(Chunk& whole, int first, unsigned place) const {
    constexpr int kBeside = Chunks<V>::kBeside;
    uint4 left[kBeside][kAtOnce];
#pragma unroll
    for (int j = 0; j < kBeside; ++j) {
      const unsigned start = first + j < others() ? 0 : ~0u;  // not here yet; all zeros
#pragma unroll
      for (int panel = 0; panel < kAtOnce; ++panel) left[j][panel] = make_uint4(start, start, start, start);
    }
    bool is_complete;
    do {
      is_complete = true;
#pragma unroll
      for (int j = 0; j < kBeside; ++j) {
        const float* const from = slot_of(first + j) + place;
#pragma unroll
        for (int panel = 0; panel < kAtOnce; ++panel) {
          if (!ptx::have_come(left[j][panel])) left[j][panel] = ptx::look_at_values(from + panel * (kThreads * 4));
        }
      }
#pragma unroll
      for (int j = 0; j < kBeside; ++j) {
#pragma unroll
        for (int panel = 0; panel < kAtOnce; ++panel) is_complete = is_complete && ptx::have_come(left[j][panel]);
      }
    } while (!__all_sync(~0u, is_complete));
#pragma unroll
    for (int j = 0; j < kBeside; ++j) {
#pragma unroll
      for (int panel = 0; panel < kAtOnce; ++panel) add(whole, panel, ptx::values_of(left[j][panel]));
    }
  }

  // A warp's of a block's slot.
  __device__ unsigned* flag_of(int block) const {
    return epilogue.args.flags + Chunks<V>::slot_of(visit.meeting, block) / Chunks<V>::kSlot * (kFlagBytes / 4) + epilogue.group * 4 +
           epilogue.warp;
  }

  // Behind flags. What one block left of a chunk is on its way while the one before is added up.
  __device__ void collect_flagged(const Accumulators& sums) const {
    for (int i = epilogue.lane; i < others(); i += 32) ptx::take_flag(flag_of(block_of(i)));
    __syncwarp();
    Step step{visit.first, 0};
    Chunk whole;
    float4 even[kAtOnce], odd[kAtOnce];
    fetch(even, step);
#pragma unroll 1
    while (step.chunk < visit.last) {
      Step next = after(step);
      fetch(odd, next);
      take(whole, sums, even, step);
      if (next.chunk >= visit.last) break;
      step = after(next);
      fetch(even, step);
      take(whole, sums, odd, next);
    }
  }
  struct Step {
    int chunk, other;
  };
  __device__ Step after(Step step) const { return step.other + 1 < others() ? Step{step.chunk, step.other + 1} : Step{step.chunk + 1, 0}; }
  __device__ void fetch(float4 (&left)[kAtOnce], Step step) const {
    const At where = epilogue.at(step.chunk < visit.last ? step.chunk : visit.first);  // behind the last: anything
    const float* const from = slot_of(step.other) + place_of(where.t, where.i * kAtOnce);
#pragma unroll
    for (int panel = 0; panel < kAtOnce; ++panel) left[panel] = ptx::load_flagged(from + panel * (kThreads * 4));
  }
  __device__ void take(Chunk& whole, const Accumulators& sums, const float4 (&left)[kAtOnce], Step step) const {
    const At where = epilogue.at(step.chunk);
    if (step.other == 0) epilogue.begin(whole, sums, where);
#pragma unroll
    for (int panel = 0; panel < kAtOnce; ++panel) add(whole, panel, left[panel]);
    if (step.other == others() - 1) epilogue.end(whole, where);
  }
};

}  // namespace billfish::sm90
