// SPDX-License-Identifier: Apache-2.0
// The shapes that the sm90 kernel is compiled for. Plain C++: plans are made without nvcc. docs/kernels/sm90-wgmma.md has the story.
#pragma once

#include <cstdint>

#include "core/types.hpp"
#include "cuda/sm90/scale_rows.hpp"

namespace billfish::sm90 {

constexpr int kMaxSplits = 8;       // blocks of a portable cluster
constexpr int kTokenTilesDeep = 8;  // tiles along M that run side by side: their weights are read from memory once

// How a block of threads covers C and K. A tile is `columns` x `tokens` of C; every warpgroup holds `tiles` wgmma tiles of 64 columns.
struct WgmmaConfig {
  int tokens;               // N of wgmma
  int tiles = 2;            // m64 tiles a warpgroup
  int stage_k = 128;        // codes along K in a stage
  int batch = 2;            // k16 steps decoded and multiplied together: a step alone is bound by latency, more need registers
  int blocks_per_sm = 1;    // resident at once: 2 lets the next launch prefetch under this one
  int most_stages = 4;      // of the ring: memory gives less with more than 40 to 70 KB of weights on their way to a multiprocessor
  bool alias_sums = false;  // partial sums of a cluster are exchanged in the stages' memory, after the main loop
  bool scale_sums = false;  // a stage's scale multiplies its f32 sums, not the weights: 4 of 13 instructions a word fewer (one row a stage)
  int parts = 1;            // scale_sums: sets of a stage's sums; 2 fold a stage's while the next one's first batch is on the tensor cores
  int abreast = 1;          // blocks of a cluster side by side along the columns; each brings its part of the activations to all of them
  bool clusters = true;     // false: no kernel for clusters that split K, which run where there is no workspace of zeros
  bool any_group = false;   // has a kernel for groups of Grain::steps, which are rare: a few variants do
  int held_for = 0;         // stages that are left when the next launch may begin; 0: it may at once
  int groups = 2;           // warpgroups side by side along the columns

  static constexpr int kBuffers = 2;  // of decoded fragments: one is decoded while the tensor cores work on the other

  // Blocks abreast do not split K as well.
  constexpr bool splits_k() const { return clusters && abreast == 1; }

  constexpr int consumer_warps() const { return 4 * groups; }
  constexpr int columns() const { return 64 * tiles * groups; }
  // How blocks that share a tile leave sums for each other: few sums as values that say themselves that they are there, and have to be put
  // back to zeros; many behind flags, which come later by two round trips of 1,000 clocks.
  constexpr int slot_bytes() const { return columns() * tokens * 4; }
  constexpr bool by_value() const { return slot_bytes() <= 32 * 1024; }
  // They travel in chunks of so many panels of 8 tokens, values of so many blocks together.
  constexpr int chunk_panels() const { return tokens < 64 ? 1 : by_value() ? 2 : 4; }
  constexpr int chunk_blocks() const { return (blocks_per_sm == 2 && tiles == 2 ? 4 : 8) / chunk_panels(); }

  // A block that has the SM to itself gives its producer a whole warpgroup, whose registers the consumers then take (setmaxnreg).
  constexpr int threads() const { return consumer_warps() * 32 + (blocks_per_sm == 1 ? 128 : 32); }
  // A thread of the producer's and of a consumer's warpgroup, after setmaxnreg.
  constexpr int producer_registers() const { return groups == 2 ? 40 : 32; }
  constexpr int consumer_registers() const { return groups == 2 ? 232 : 160; }
  constexpr int shared_limit() const { return blocks_per_sm == 2 ? 113 * 1024 : 227 * 1024; }
};

// policy = index into this list; a variant exists only if it won somewhere.
constexpr WgmmaConfig kConfigs[] = {
    {.tokens = 8, .blocks_per_sm = 2, .scale_sums = true},                                                            // 256x8
    {.tokens = 16, .tiles = 1, .batch = 4, .blocks_per_sm = 2, .most_stages = 6, .scale_sums = true, .parts = 2},     // 128x16
    {.tokens = 16, .batch = 1, .blocks_per_sm = 2, .scale_sums = true, .any_group = true},                            // 256x16
    {.tokens = 16, .scale_sums = true, .parts = 2, .clusters = false, .groups = 3},                                   // 384x16
    {.tokens = 32, .tiles = 1, .batch = 4, .blocks_per_sm = 2, .most_stages = 6, .scale_sums = true},                 // 128x32
    {.tokens = 32, .batch = 4, .scale_sums = true, .parts = 2, .clusters = false},                                    // 256x32
    {.tokens = 48, .batch = 4, .clusters = false},                                                                    // 256x48
    {.tokens = 64, .tiles = 1, .batch = 4, .blocks_per_sm = 2, .alias_sums = true, .held_for = 20},                   // 128x64
    {.tokens = 64, .tiles = 1, .batch = 4, .blocks_per_sm = 2, .abreast = 2, .held_for = 20},                         // 2x128x64
    {.tokens = 64, .any_group = true},                                                                                // 256x64
    {.tokens = 64, .tiles = 1, .batch = 4, .clusters = false, .groups = 3},                                           // 192x64
    {.tokens = 96, .tiles = 1, .batch = 4, .clusters = false, .groups = 3},                                           // 192x96
    {.tokens = 128, .stage_k = 64, .most_stages = 6, .alias_sums = true},                                             // 256x128
    {.tokens = 128, .tiles = 1, .stage_k = 64, .most_stages = 6, .clusters = false, .any_group = true, .groups = 3},  // 192x128
    {.tokens = 256, .tiles = 1, .stage_k = 64, .most_stages = 6, .abreast = 2},                                       // 2x128x256
    {.tokens = 256, .tiles = 1, .stage_k = 64, .most_stages = 6, .alias_sums = true, .any_group = true},              // 128x256
};
constexpr int kPolicies = sizeof(kConfigs) / sizeof(kConfigs[0]);
constexpr const char* kPolicyNames[kPolicies] = {"256x8",    "128x16", "256x16", "384x16", "128x32",  "256x32",  "256x48",    "128x64",
                                                 "2x128x64", "256x64", "192x64", "192x96", "256x128", "192x128", "2x128x256", "128x256"};
// 8-bit stages are half as long along K, so that a stage has the same bytes and the ring the same slots.
constexpr WgmmaConfig config_of(int policy, int bits) {
  WgmmaConfig config = kConfigs[policy];
  if (bits == 8 && config.stage_k == 128) config.stage_k = 64;
  const int most = config.stage_k / 16 / WgmmaConfig::kBuffers;  // every buffer has a batch of each stage
  if (config.batch > most) config.batch = most;
  return config;
}

// Of a k16 step of weights: a tensor map's box, which is 2 KB at most and whole 64-column blocks. The steps of a stage's part lie together.
constexpr int part_bytes(const WgmmaConfig& c, int bits) {
  int bytes = 2048;
  while (c.columns() * bits * 2 % bytes != 0) bytes -= 128 * bits;
  return bytes;
}

// Columns of a row of scales that one copy brings: 256 at most.
constexpr int scale_columns(const WgmmaConfig& c) { return c.columns() > 256 ? c.columns() / 2 : c.columns(); }

// The shared memory of a block, in bytes from a 1024-byte boundary.
struct SharedMap {
  int weights, activations, scales, zeros, stage;  // bytes of one stage's parts (activations lie first) and of all of it
  int stages;
  int after;  // from a 1024-byte boundary: the exchange of a cluster's partial sums (unless it reuses the stages) or output, never both
  int barriers;
  int total;
};

constexpr int round_to(int value, int to) { return (value + to - 1) / to * to; }

constexpr int scale_rows(const WgmmaConfig& c, Grain grain) { return most_rows(c.stage_k / 16, grain); }

// Bytes that the exchange needs at the receiving block that owns most columns, and the worst number of splits.
constexpr int exchange_bytes(const WgmmaConfig& c, int splits) {
  const int owned = (c.columns() / 16 + splits - 1) / splits;
  return splits * owned * 16 * c.tokens * 4;
}
constexpr int worst_exchange_bytes(const WgmmaConfig& c) {
  int worst = 0;
  for (int splits = 1; splits <= kMaxSplits; ++splits) {
    const int bytes = exchange_bytes(c, splits);
    worst = bytes > worst ? bytes : worst;
  }
  return worst;
}

// Tokens of a tile that lie in shared memory at once on their way to C: all of them where a block has the multiprocessor to itself, so that
// nobody waits for the copy engine. 0: few enough to be written as they are.
constexpr int staged_tokens(const WgmmaConfig& c) {
  if (c.tokens < 32) return 0;
  return c.blocks_per_sm == 1 ? c.tokens : 32;
}

// `cluster`: clusters split K.
constexpr SharedMap shared_map(const WgmmaConfig& c, int bits, bool zeros, Grain grain, bool cluster) {
  SharedMap map{};
  map.weights = c.columns() * c.stage_k * bits / 8;
  map.activations = c.tokens * c.stage_k * 2;
  map.scales = scale_rows(c, grain) * c.columns() * 2;
  map.zeros = zeros ? scale_rows(c, grain) * c.columns() / 2 : 0;
  map.stage = round_to(map.weights + map.activations + map.scales + map.zeros, 1024);
  const int exchange = cluster && !c.alias_sums ? worst_exchange_bytes(c) : 0;
  const int staging = staged_tokens(c) * c.columns() * 2;
  map.after = exchange > staging ? exchange : staging;
  map.barriers = 256 + c.consumer_warps() * 32;  // and what else is small: the walk's range, and each warp's Visit
  map.stages = (c.shared_limit() - 1024 - map.after - map.barriers) / map.stage;
  if (map.stages > c.most_stages) map.stages = c.most_stages;
  map.total = 1024 + map.stages * map.stage + map.after + map.barriers;
  return map;
}

// Sums that are exchanged in the stages' memory must fit there.
constexpr bool splits_fit(const WgmmaConfig& c, const SharedMap& map, int splits) {
  return !c.alias_sums || splits == 1 || exchange_bytes(c, splits) <= map.stages * map.stage;
}

}  // namespace billfish::sm90
