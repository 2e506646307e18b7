// SPDX-License-Identifier: Apache-2.0
// The shapes that the streaming kernel (few tokens) is compiled for, and its shared memory. Plain C++: plans are made without nvcc.
// docs/kernels/sm90-stream.md has the story.
#pragma once

#include <cstdint>

#include "core/integers.hpp"

namespace billfish::sm90 {

// A tile is kStreamColumns x `tokens` of C. A team is four warps, each with 32 of the columns; teams take turns along K.
struct StreamConfig {
  int tokens;
  int teams;

  constexpr int consumers() const { return teams * 128; }
  constexpr int threads() const { return consumers() + 32; }  // and the producer warp
};

constexpr StreamConfig kStreamConfigs[] = {{8, 2}, {16, 2}};
constexpr int kStreamPolicies = sizeof(kStreamConfigs) / sizeof(kStreamConfigs[0]);
constexpr const char* kStreamPolicyNames[kStreamPolicies] = {"stream-8", "stream-16"};

constexpr int kStreamColumns = 128;
constexpr int kStreamSlotBytes = 8192;                // codes of an item, the unit of work: 128 columns x 128 k (4-bit) or 64 k (8-bit)
constexpr int kStreamMaxSlots = 8;                    // of the ring: more gain nothing
constexpr int kStreamEarlySlots = 5;                  // filled with weights before the dependency wait: more delay the running launch
constexpr int kStreamShared = 113 * 1024;             // two blocks an SM: the next launch fills its ring under this one
constexpr int kStreamSumsPitch = kStreamColumns + 4;  // floats; two rows further on is eight banks further on

// The owner of a tile awaits the values of so many blocks together. If more blocks than that help it and threads are idle, because tokens
// are few, several threads fetch a value, each from blocks of its own. Their number's logarithm, to spare the owner divisions.
constexpr int kStreamAtOnce = 4;
BILLFISH_HD constexpr int stream_collector_bits(int tokens, int helpers) {
  return helpers <= kStreamAtOnce ? 0 : tokens == 1 ? 3 : tokens == 2 ? 2 : tokens <= 4 ? 1 : 0;
}

constexpr int stream_item_k(int bits) { return kStreamSlotBytes * 8 / (kStreamColumns * bits); }

// Bytes from a 1024-byte boundary. `rows`: rows of scales that an item may touch, 0 if scales are per column. `most_slots`: of the ring,
// at most kStreamMaxSlots.
struct StreamMap {
  int activations;  // of an item, behind its codes
  int scales, zeros;
  int item;   // codes, activations
  int extra;  // scales, zeros
  int slots;
  int sums;  // bytes
  int total;
};

constexpr StreamMap stream_map(const StreamConfig& c, int bits, bool zeros, int rows, int tokens, int most_slots) {
  StreamMap map{};
  map.activations = c.tokens * stream_item_k(bits) * 2;
  map.scales = rows * kStreamColumns * 2;
  map.zeros = zeros ? rows * kStreamColumns / 2 : 0;
  map.item = kStreamSlotBytes + map.activations;
  map.extra = (map.scales + map.zeros + 127) / 128 * 128;
  map.sums = c.teams / 2 * tokens * kStreamSumsPitch * 4;
  const int room = kStreamShared - 1024 - kStreamMaxSlots * 16 - map.sums;
  map.slots = room / (map.item + map.extra);
  if (map.slots > most_slots) map.slots = most_slots;
  map.slots -= map.slots % c.teams;  // a slot is always the same team's: see the producer
  map.total = 1024 + map.slots * (map.item + map.extra) + map.sums + kStreamMaxSlots * 16;
  return map;
}

}  // namespace billfish::sm90
