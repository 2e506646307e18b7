// SPDX-License-Identifier: Apache-2.0
// How many rows of scales a stretch of K touches, and how often they change. Called by the plans and host halves of both sm90 kernels.
#pragma once

namespace billfish::sm90 {

// The most that `steps` k16 steps, from a multiple of `steps` on, may touch; groups are `group` steps long.
constexpr int rows_touched(int steps, int group) {
  if (group % steps == 0) return 1;
  if (steps % group == 0) return steps / group;
  return (steps + group - 2) / group + 1;
}

// Steps of a group for which the streaming kernel has a loop of its own: items are several whole groups, scales of the activations' type.
// 0: any other, for which there is a slower one.
constexpr int even_groups(int steps, int group, bool same_type) { return same_type && group < steps && steps % group == 0 ? group : 0; }

}  // namespace billfish::sm90
