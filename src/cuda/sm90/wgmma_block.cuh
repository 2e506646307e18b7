// SPDX-License-Identifier: Apache-2.0
// What the roles of a block share: the variant they are compiled for, where things lie in shared memory, and the walk over tiles, stages.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/decode.cuh"
#include "cuda/ptx/barrier.cuh"
#include "cuda/ptx/cluster.cuh"
#include "cuda/sm90/shares.hpp"
#include "cuda/sm90/wgmma_arguments.hpp"
#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::sm90 {

using cuda::Decode;

template <int kPolicy, WeightType kWeight, bool kIsBf16, Grain kGrainOf, bool kIsCluster>
struct Variant {
  using Codec = Decode<kWeight, kIsBf16>;  // the seam for weight types
  static constexpr WgmmaConfig kConfig = config_of(kPolicy, Codec::kBits);
  static constexpr bool kBf16 = kIsBf16;
  static constexpr Grain kGrain = kGrainOf;
  static constexpr bool kCluster = kIsCluster;      // a tile is a cluster's, each block has a part of its K
  static constexpr int kAbreast = kConfig.abreast;  // tiles side by side have a cluster of as many blocks: a unit
  static_assert(kAbreast == 1 || (!kCluster && kConfig.tokens % (8 * kAbreast) == 0),
                "a part of the activations is whole swizzle patterns");
  static constexpr bool kScaleSums = kConfig.scale_sums && kGrain == Grain::stage;
  static constexpr SharedMap kMap = shared_map(kConfig, Codec::kBits, Codec::kZeros, kGrain, kCluster);
  static constexpr int kColumns = kConfig.columns();
  static constexpr int kSteps = kConfig.stage_k / 16;                   // k16 steps of a stage
  static constexpr int kPanels = kConfig.stage_k / 64;                  // 128-byte wide panels of activations
  static constexpr int kPartBytes = part_bytes(kConfig, Codec::kBits);  // of a k16 step of weights
  static constexpr int kParts = kColumns * Codec::kBits * 2 / kPartBytes;
  // Rows of scales come in parts, too, and a part's rows lie together.
  static constexpr int kScaleParts = kColumns / scale_columns(kConfig);
  static constexpr int kScalePartBytes = scale_rows(kConfig, kGrain) * scale_columns(kConfig) * 2;
  static constexpr int kAccumulators = kConfig.tokens / 2;  // a thread and m64 tile
  static constexpr int kStages = kMap.stages;
  static_assert(kStages >= 2, "a slot is released one stage late");
};

// Shared-memory addresses of a block.
template <class V>
struct Shared {
  std::uint32_t base;
  __device__ std::uint32_t slot(int slot) const { return base + slot * V::kMap.stage; }
  __device__ std::uint32_t activations(int at) const { return slot(at); }
  __device__ std::uint32_t weights(int slot) const { return activations(slot) + V::kMap.activations; }
  __device__ std::uint32_t scales(int slot) const { return weights(slot) + V::kMap.weights; }
  __device__ std::uint32_t zeros(int slot) const { return scales(slot) + V::kMap.scales; }
  __device__ std::uint32_t after_stages() const { return base + V::kStages * V::kMap.stage; }
  __device__ std::uint32_t sums() const { return V::kConfig.alias_sums ? base : after_stages(); }
  __device__ std::uint32_t staging() const { return after_stages(); }
  __device__ std::uint32_t barriers() const { return after_stages() + V::kMap.after; }
  __device__ std::uint32_t full(int slot) const { return barriers() + slot * 16; }
  __device__ std::uint32_t empty(int slot) const { return barriers() + slot * 16 + 8; }
  // A warp has read the slot: the copy engines of all blocks that write it may do so again.
  __device__ void release(int slot, int lane, bool condition = true) const {
    if constexpr (V::kAbreast == 1) {
      ptx::mbarrier_arrive_if(empty(slot), lane == 0 && condition);
    } else {
      ptx::mbarrier_arrive_cluster_if(ptx::map_shared(empty(slot), lane % V::kAbreast), lane < V::kAbreast && condition);
    }
  }
  __device__ std::uint32_t exchange() const { return barriers() + V::kStages * 16; }
  __device__ std::uint32_t range() const { return exchange() + 8; }
  __device__ std::uint32_t visit(int warp) const { return barriers() + 256 + warp * 32; }
};

// Blocks abreast are a unit, which walks like one block over tiles as wide as all of theirs.
template <class V>
struct Unit {
  static __device__ unsigned index() { return blockIdx.x / V::kAbreast; }
  static __device__ unsigned count() { return gridDim.x / V::kAbreast; }
  static __device__ unsigned rank() { return blockIdx.x % V::kAbreast; }
};

// Which part of C and K a block computes: tiles in an order that keeps weights and activations of neighbours in L2.
struct Work {
  int m0, n0;      // first token and column of the tile
  int begin, end;  // stages
};

// The place of a tile; `begin` and `end` are the whole of K.
template <class V>
__device__ Work work_of(const WgmmaArguments& args, int tile) {
  const int stages = (args.steps + V::kSteps - 1) / V::kSteps, rank = static_cast<int>(Unit<V>::rank());
  if (args.tiles_m == 1) return {0, (tile * V::kAbreast + rank) * V::kColumns, 0, stages};  // nearly always
  const int band = static_cast<int>(static_cast<unsigned>(tile) / args.by_band);
  const int inside = tile - band * (kTokenTilesDeep * args.tiles_n);
  const int left = args.tiles_m - band * kTokenTilesDeep;
  const bool is_whole = left >= kTokenTilesDeep;
  const int height = is_whole ? kTokenTilesDeep : left;
  const int column = is_whole ? inside / kTokenTilesDeep : static_cast<int>(static_cast<unsigned>(inside) / args.by_last_height);
  return {(band * kTokenTilesDeep + inside - column * height) * V::kConfig.tokens, (column * V::kAbreast + rank) * V::kColumns, 0, stages};
}

// A block's work one after the other: its part of its cluster's tile, and no more.
template <class V, bool kCluster = V::kCluster>
struct Walk {
  const WgmmaArguments& args;
  const Shared<V>& shared;

  __device__ Work work() const { return first(args); }
  static __device__ Work first(const WgmmaArguments& args) {
    Work work = work_of<V>(args, static_cast<int>(blockIdx.x) / args.splits);
    const unsigned stages = work.end, rank = ptx::cluster_rank(), splits = args.splits;
    work.begin = static_cast<int>(stages * rank / splits);
    work.end = static_cast<int>(stages * (rank + 1) / splits);
    return work;
  }
  __device__ bool next() { return false; }
  __device__ bool more() const { return false; }
};

// Without clusters: the shared tiles of its range, from the last to the first, then whole tiles, one grid apart. The range lies in shared
// memory, because it is looked at once a tile and registers are dear.
template <class V>
struct Walk<V, false> {
  const WgmmaArguments& args;
  const Shared<V>& shared;
  int tile;

  // The first, without a look into shared memory.
  static __device__ Work first(const WgmmaArguments& args) {
    if (args.shared_tiles == 0) return work_of<V>(args, static_cast<int>(Unit<V>::index()));
    const Range range = range_of(args.shares, Unit<V>::index());
    return part_of(args, range.last_tile, range.begin, range.end);
  }

  // One thread, before the others begin.
  static __device__ void prepare(const WgmmaArguments& args, const Shared<V>& shared) {
    if (args.shared_tiles == 0) return;
    const Range range = range_of(args.shares, Unit<V>::index());
    const int values[] = {range.begin, range.end, range.first_tile, range.last_tile, range.helpers, range.followers, range.early};
#pragma unroll
    for (int i = 0; i < 7; ++i) asm volatile("st.shared.b32 [%0], %1;" ::"r"(shared.range() + i * 4), "r"(values[i]) : "memory");
  }

  __device__ Walk(const WgmmaArguments& arguments, const Shared<V>& memory) : args(arguments), shared(memory) {
    tile = args.shared_tiles > 0 ? range(3) : static_cast<int>(Unit<V>::index());
  }

  __device__ Work work() const { return sharing() ? part_of(args, tile, range(0), range(1)) : work_of<V>(args, tile); }
  __device__ bool next() {
    tile = next_tile();
    return tile < tiles();
  }
  __device__ bool more() const { return next_tile() < tiles(); }

  // Who has parts of the tile.
  __device__ Meeting meeting() const {
    if (!sharing()) return {0, 0, 0};
    return meeting_of(Range{range(0), range(1), range(2), range(3), range(4), range(5), range(6)}, tile);
  }

 private:
  // What the items [begin, end) have of a shared tile.
  static __device__ Work part_of(const WgmmaArguments& args, int tile, int begin, int end) {
    Work work = work_of<V>(args, tile);
    const int first = tile * args.shares.items;
    work.begin = max(begin - first, 0);
    work.end = min(end - first, work.end);
    return work;
  }

  __device__ bool sharing() const { return tile < args.shared_tiles; }
  __device__ int tiles() const { return args.tiles_m * args.tiles_n; }
  __device__ int next_tile() const {
    if (!sharing()) return tile + static_cast<int>(Unit<V>::count());
    return tile > range(2) ? tile - 1 : args.shared_tiles + static_cast<int>(Unit<V>::index());
  }
  __device__ int range(int i) const {
    int value;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(shared.range() + i * 4));
    return value;
  }
};

// Blocks' sums of a tile that they share, on their way through the workspace: thread for thread, 16 bytes for a panel of 8 tokens (2
// columns x 2 tokens), some panels a chunk.
template <class V>
struct Chunks {
  static constexpr int kThreads = V::kConfig.consumer_warps() * 32;
  static constexpr int kPanels = V::kConfig.tokens / 8;
  static constexpr int kAtOnce = V::kConfig.chunk_panels();  // panels of a chunk
  static constexpr int kOfPart = kPanels / kAtOnce;          // chunks of an m64 tile a warpgroup
  static constexpr int kBeside = V::kConfig.chunk_blocks();  // blocks whose sums of a chunk are on their way together

  // Of an m64 tile; those without tokens are left out.
  static __device__ int used(int tokens) { return (min(tokens, V::kConfig.tokens) + kAtOnce * 8 - 1) / (kAtOnce * 8); }

  // The slot of block number `i` of those that meet, in floats; the others lie beside this one.
  static __device__ unsigned slot_of(const Meeting& meeting, int i) {
    return ((blockIdx.x + (i - meeting.before) * V::kAbreast) * kSlotsOfBlock + (i == 0 ? 1 : 0)) * kSlot;
  }
  static constexpr unsigned kSlot = V::kColumns * V::kConfig.tokens;
};

// What a warp has to know when it has multiplied: worked out before, while the activations are awaited, and kept in shared memory.
struct Visit {
  int m0, n0;  // first token and column of the tile
  Meeting meeting;
  int first, last;  // chunks that this block adds up and stores
  int takers;       // of what it leaves

  __device__ bool is_shared() const { return meeting.blocks() > 1; }
  __device__ void save(std::uint32_t at) const {
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(m0), "r"(n0), "r"(meeting.before), "r"(meeting.after)
                 : "memory");
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(at + 16), "r"(meeting.early), "r"(first), "r"(last), "r"(takers)
                 : "memory");
  }
  static __device__ Visit saved(std::uint32_t at) {
    Visit v;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.m0), "=r"(v.n0), "=r"(v.meeting.before), "=r"(v.meeting.after)
                 : "r"(at));
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.meeting.early), "=r"(v.first), "=r"(v.last), "=r"(v.takers)
                 : "r"(at + 16));
    return v;
  }
};

template <class V>
__device__ Visit visit_of(const WgmmaArguments& args, const Meeting& meeting, const Work& work) {
  const int chunks = V::kConfig.tiles * Chunks<V>::used(args.m - work.m0);
  return {work.m0, work.n0, meeting, meeting.first_chunk(chunks), meeting.last_chunk(chunks), meeting.takers(chunks)};
}

// Row of scales that k16 step `step` uses: of any group.
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
