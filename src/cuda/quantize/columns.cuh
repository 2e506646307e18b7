// SPDX-License-Identifier: Apache-2.0
// Columns that come one after another, each with something to say to those behind it: GPTQ's feedback and the rounds that improve codes
// (the loops feed_back and improve of quantize/lane_loops.hpp, with the same bits). Called by engine_panels.cu.
//
//   a block: 32 rows, 16 warps; a lane is a row, warp w owns columns w, w + 16, w + 32, ... of up to 128, in registers
//
//   column   0    1    2  ...  15   16   17 ...
//   warp     0    1    2  ...  15   0    1  ...
//            |    owner: settles its code, tells all others what it leaves behind (32 floats of shared memory)
//            '->  everybody: adds that, times the link, to each of its columns behind this one
//
// So a column costs one wait for the block and what its owner does, about 200 cycles; the sums over earlier columns, which make it up on
// the CPU, are spread over the warps, each in the order of columns.
#pragma once

#include <cstdint>

#include "cuda/quantize/panels.cuh"

namespace billfish::cuda::quantizing {

using quantize::kMostWidth;

constexpr int kWarps = 16;
constexpr int kOwned = kMostWidth / kWarps;  // columns of a warp
constexpr int kLinkBytes = kMostWidth * kMostWidth * static_cast<int>(sizeof(float));

// A Step has a State of a column for one row, of which `sum` is what earlier columns add to, and
//   link(from, to)                 what a column's word counts for a later one
//   load(column, part, lane)       its state before any other has spoken
//   settle(column, row, state, total)   its word; total: what the row's cost changes by
//   finish(row, total)
template <class Step>
__global__ void __launch_bounds__(kLanes* kWarps) columns_in_turn(const __grid_constant__ Step step) {
  extern __shared__ float links[];  // [from, kMostWidth]
  __shared__ float words[2][kLanes], totals[kWarps][kLanes];
  const int lane = threadIdx.x, warp = threadIdx.y, width = static_cast<int>(step.job.width);
  const std::int64_t row = std::int64_t{blockIdx.x} * kLanes + lane;

  for (int at = warp * kLanes + lane; at < width * kMostWidth; at += kWarps * kLanes) {
    const int from = at / kMostWidth, to = at % kMostWidth;
    links[at] = to > from && to < width ? step.link(from, to) : 0.0f;
  }
  typename Step::State states[kOwned];
#pragma unroll
  for (int i = 0; i < kOwned; ++i) states[i] = step.load(i * kWarps + warp < width ? i * kWarps + warp : width - 1, blockIdx.x, lane);
  __syncthreads();

  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < kOwned; ++i) {
#pragma unroll 1
    for (int owner = 0; owner < kWarps; ++owner) {
      const int column = i * kWarps + owner;
      if (column >= width) break;
      if (warp == owner) words[column % 2][lane] = step.settle(column, row, states[i], total);
      __syncthreads();  // two buffers of words: nobody is two columns behind
      const float word = words[column % 2][lane];
      if (warp > owner) states[i].sum += word * links[column * kMostWidth + i * kWarps + warp];
#pragma unroll
      for (int later = i + 1; later < kOwned; ++later) states[later].sum += word * links[column * kMostWidth + later * kWarps + warp];
    }
  }

  totals[warp][lane] = total;
  __syncthreads();
  if (warp != 0) return;
  for (int other = 1; other < kWarps; ++other) total += totals[other][lane];
  step.finish(row, total);
}

struct FeedBackStep {
  quantize::FeedBackJob job;
  float largest_code;

  struct State {
    float sum, weight, scale, inverse, zero;  // sum: the target
  };
  __device__ float link(int from, int to) const { return job.links[from * job.ld_links + to]; }
  __device__ State load(int column, unsigned part, int lane) const {
    const Grid& grid = job.grids[job.group_of[column] * job.parts + part];
    const std::int64_t at = column * job.rows + part * kLanes + lane;
    return {job.targets[at], job.weights[at], grid.scale[lane], grid.inverse[lane], grid.zero[lane]};
  }
  __device__ float settle(int column, std::int64_t row, const State& state, float& total) const {
    const float code = code_of(state.sum, state.inverse, state.zero, largest_code), value = (code - state.zero) * state.scale;
    const float missed = state.sum - value, error = state.weight - value;
    total += missed * missed * job.pivots[column];
    job.errors[column * job.rows + row] = error;
    job.codes[column * job.rows + row] = static_cast<std::uint8_t>(code);
    return error;
  }
  __device__ void finish(std::int64_t row, float total) const { job.cost[row] += static_cast<double>(total); }
};

struct ImproveStep {
  quantize::ImproveJob job;
  float largest_code;
  std::int64_t group;  // of the first column
  int of_group;        // columns of it; those behind are of the next: a job is one group, or narrower than one

  struct State {
    float sum, error, code, scale, inverse, zero, moment;  // sum: the gradient
  };
  __device__ float link(int from, int to) const { return job.moments[to * job.ld_moments + from] * job.down; }
  __device__ State load(int column, unsigned part, int lane) const {
    const Grid& grid = job.grids[(group + (column >= of_group ? 1 : 0)) * job.parts + part];
    const std::int64_t at = column * job.rows + part * kLanes + lane;
    const float own = job.moments[column * (job.ld_moments + 1)];
    return {job.gradients[at],
            job.errors[at],
            static_cast<float>(job.codes[at]),
            grid.scale[lane],
            grid.inverse[lane],
            grid.zero[lane],
            own > 0.0f ? own * job.down + job.damping : 0.0f};
  }
  __device__ float settle(int column, std::int64_t row, const State& state, float& total) const {
    const float flatness = state.moment > 0.0f ? 1.0f / state.moment : 0.0f;
    const float value = (state.code - state.zero) * state.scale;
    const float code = code_of(value + state.sum * flatness, state.inverse, state.zero, largest_code);
    const float change = value - (code - state.zero) * state.scale;
    total -= change * (state.sum + state.sum + change * state.moment);
    job.errors[column * job.rows + row] = state.error + change;
    job.codes[column * job.rows + row] = static_cast<std::uint8_t>(code);
    return change;
  }
  __device__ void finish(std::int64_t row, float total) const { job.cost[row] -= static_cast<double>(total); }
};

}  // namespace billfish::cuda::quantizing
