// SPDX-License-Identifier: Apache-2.0
// How many rows of scales a stretch of K touches. Called by the plans and host halves of both sm90 kernels.
#pragma once

namespace billfish::sm90 {

// The most that `steps` k16 steps, from a multiple of `steps` on, may touch; groups are `group` steps long.
constexpr int rows_touched(int steps, int group) {
  if (group % steps == 0) return 1;
  if (steps % group == 0) return steps / group;
  return (steps + group - 2) / group + 1;
}

}  // namespace billfish::sm90
