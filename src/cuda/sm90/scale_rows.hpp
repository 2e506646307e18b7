// SPDX-License-Identifier: Apache-2.0
// Which rows of scales a stretch of K needs, and how often they change: for the plans, the host halves and the loops of both sm90 kernels.
#pragma once

namespace billfish::sm90 {

// The most that `steps` k16 steps, from a multiple of `steps` on, may touch; groups are `group` steps long.
constexpr int rows_touched(int steps, int group) {
  if (group % steps == 0) return 1;
  if (steps % group == 0) return steps / group;
  return (steps + group - 2) / group + 1;
}

// How a k16 step of the wgmma kernel's stage finds its scales.
enum class Grain : int {
  stage,  // the whole stage has one row of them
  pairs,  // a row lasts two steps, or two such pairs: groups of 32, and of 64 where a stage is longer
  steps,  // any other group: looked up for every step
};
constexpr int kGrains = 3;

// Groups are `group` steps long, stages `steps`, which is a power of two.
constexpr Grain grain_of(int steps, int group) {
  if (group % steps == 0) return Grain::stage;
  return group % 2 == 0 && steps % group == 0 ? Grain::pairs : Grain::steps;
}

// Grain::pairs: a row lasts so many pairs, as a power of two.
constexpr int pairs_shift(int group) {
  int shift = 0;
  while (group >> shift > 2) ++shift;
  return shift;
}

// The most rows that a stage may have.
constexpr int most_rows(int steps, Grain grain) { return grain == Grain::stage ? 1 : grain == Grain::pairs ? steps / 2 : steps; }

// Steps of a group for which the streaming kernel has a loop of its own: items are several whole groups, scales of the activations' type.
// 0: any other, for which there is a slower one.
constexpr int even_groups(int steps, int group, bool same_type) { return same_type && group < steps && steps % group == 0 ? group : 0; }

}  // namespace billfish::sm90
