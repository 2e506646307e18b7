// SPDX-License-Identifier: Apache-2.0
// Kernels that go through panels, a lane a row: the loops of quantize/lane_loops.hpp for a device, with the same order of additions and
// (compiled with -fmad=false) the same bits. Called by engine_panels.cu. Speed is that of the second-level cache.
#pragma once

#include <cstdint>

#include "cuda/quantize/shapes.cuh"
#include "quantize/engine.hpp"
#include "quantize/grid_search.hpp"

namespace billfish::cuda::quantizing {

using quantize::Grid;
using quantize::GridOf;
using quantize::kLanes;

constexpr int kColumnsAtOnce = 8;  // of a block of kLanes x kColumnsAtOnce threads

// The code nearest to `value`, as a float. Adding 1.5 * 2^23 leaves no room for a fraction: rounds to nearest even, up to 2^22.
__device__ inline float code_of(float value, float inverse, float zero, float largest_code) {
  const float scaled = value * inverse + zero;
  const float above = scaled > 0.0f ? scaled : 0.0f;
  return ((above < largest_code ? above : largest_code) + 12582912.0f) - 12582912.0f;
}

// Turned in shared memory, so that both sides are walked along their rows.
__global__ void __launch_bounds__(kTile* kTileRows) gather(const __grid_constant__ quantize::GatherJob job) {
  __shared__ float tile[kTile][kTile + 1];
  const std::int64_t row = std::int64_t{blockIdx.x} * kTile, column = std::int64_t{blockIdx.y} * kTile;
  const std::int64_t at = column + threadIdx.x;  // the column of the panel that this thread reads
  std::int64_t source = 0;
  bool there = at < job.count;
  if (there) {
    source = job.order != nullptr ? job.order[job.begin + at] : job.begin + at;
    there = job.dead == nullptr || job.dead[source] == 0;
  }
  for (int i = threadIdx.y; i < kTile; i += kTileRows) {
    const std::int64_t of_w = job.first + row + i;
    tile[i][threadIdx.x] = there && of_w < job.n ? job.weights[of_w * job.ld + source] * job.factor : 0.0f;
  }
  __syncthreads();
  for (int i = threadIdx.y; i < kTile; i += kTileRows) {
    if (column + i < job.count) job.panel[(column + i) * job.ld_panel + row + threadIdx.x] = tile[threadIdx.x][i];
  }
}

// The panel of grid_search.hpp that one thread has: a row of a group.
template <bool kProducts>
struct RowPanel {
  static constexpr int kRows = 1;
  const float* values;  // [columns, ld]
  std::int64_t ld;
  int columns;
  float largest_code;
  const float* importance;  // [columns], or null
  const float* moments;     // [columns, ld_moments]
  std::int64_t ld_moments;
  float* space;  // [columns, kLanes] with products: this thread's lane of shared memory

  __device__ bool products() const { return kProducts; }
  __device__ float value(int c) const { return values[c * ld]; }
  __device__ float weight(int c) const { return importance != nullptr ? importance[c] : 1.0f; }
  __device__ float step(int c, const GridOf<1>& grid) const {
    return code_of(value(c), grid.inverse[0], grid.zero[0], largest_code) - grid.zero[0];
  }
  __device__ void range(float* low, float* high) const {
    float lowest = 0.0f, highest = 0.0f;
#pragma unroll 4
    for (int c = 0; c < columns; ++c) {
      lowest = value(c) < lowest ? value(c) : lowest;
      highest = value(c) > highest ? value(c) : highest;
    }
    *low = lowest;
    *high = highest;
  }
  __device__ void error(const GridOf<1>& grid, float* error) const {
    float sum = 0.0f;
    if constexpr (kProducts) {
      for (int c = 0; c < columns; ++c) space[c * kLanes] = value(c) - step(c, grid) * grid.scale[0];
      each_product([&](int c, float pushed) { sum += pushed * space[c * kLanes]; });
    } else {
#pragma unroll 4
      for (int c = 0; c < columns; ++c) {
        const float off = value(c) - step(c, grid) * grid.scale[0];
        sum += off * off * weight(c);
      }
    }
    *error = sum;
  }
  __device__ void fit(const GridOf<1>& grid, float* over, float* under) const {
    float sum_over = 0.0f, sum_under = 0.0f;
    if constexpr (kProducts) {
      for (int c = 0; c < columns; ++c) space[c * kLanes] = step(c, grid);
      each_product([&](int c, float pushed) {
        sum_over += pushed * (value(c) - space[c * kLanes] * grid.scale[0]);
        sum_under += pushed * space[c * kLanes];
      });
      sum_over += grid.scale[0] * sum_under;
    } else {
#pragma unroll 4
      for (int c = 0; c < columns; ++c) {
        const float at = step(c, grid), weighted = at * weight(c);
        sum_over += weighted * value(c);
        sum_under += weighted * at;
      }
    }
    *over = sum_over;
    *under = sum_under;
  }
  // body(c, row c of the moments times `space`), eight rows at a time: a value of `space` is read once for all of them.
  template <class Body>
  __device__ void each_product(Body&& body) const {
    constexpr int kAtOnce = 8;
    for (int first = 0; first < columns; first += kAtOnce) {
      float sums[kAtOnce] = {};
      for (int c = 0; c < columns; ++c) {
        const float by = space[c * kLanes];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          if (first + i < columns) sums[i] = __fmaf_rn(moments[(first + i) * ld_moments + c], by, sums[i]);
        }
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i < columns) body(first + i, sums[i]);
      }
    }
  }
};

// A warp a part of a group.
template <bool kProducts>
__global__ void __launch_bounds__(kLanes)
    choose(const __grid_constant__ quantize::ChooseJob job, const __grid_constant__ quantize::Scheme scheme) {
  extern __shared__ float space[];
  const auto parts = static_cast<unsigned>(job.rows / kLanes);
  const std::int64_t part = blockIdx.x % parts, group = blockIdx.x / parts, begin = group * job.group;
  const std::int64_t row = part * kLanes + threadIdx.x, left = job.columns - begin;
  const RowPanel<kProducts> panel = {job.panel + begin * job.ld + row,
                                     job.ld,
                                     static_cast<int>(left < job.group ? left : job.group),
                                     scheme.largest_code(),
                                     job.importance != nullptr ? job.importance + begin : nullptr,
                                     kProducts ? job.moments + begin * (job.ld_moments + 1) : nullptr,
                                     job.ld_moments,
                                     space + threadIdx.x};
  GridOf<1> best;
  bool clipped = false;
  quantize::GridSearch<RowPanel<kProducts>>(scheme, panel, best).run(&clipped);
  Grid& grid = job.grids[group * job.parts + part];
  grid.scale[threadIdx.x] = best.scale[0];
  grid.inverse[threadIdx.x] = best.inverse[0];
  grid.zero[threadIdx.x] = best.zero[0];
  job.clipped[group * job.ld_clipped + row] = clipped ? 1 : 0;
}

// What encode, subtract and make_steps share: a block a part of a group.
struct PartOfGroup {
  std::int64_t begin, end, part, group, row;
  __device__ PartOfGroup(std::int64_t rows, std::int64_t columns, std::int64_t width) {
    const auto parts = static_cast<unsigned>(rows / kLanes);
    part = blockIdx.x % parts;
    group = blockIdx.x / parts;
    row = part * kLanes + threadIdx.x;
    begin = group * width;
    end = begin + width < columns ? begin + width : columns;
  }
};

__global__ void __launch_bounds__(kLanes* kColumnsAtOnce) encode(const __grid_constant__ quantize::CodesJob job, float largest_code) {
  const PartOfGroup at(job.rows, job.columns, job.group);
  const Grid& grid = job.grids[at.group * job.parts + at.part];
  const float inverse = grid.inverse[threadIdx.x], zero = grid.zero[threadIdx.x];
  if (at.row >= job.there) return;
  for (std::int64_t c = at.begin + threadIdx.y; c < at.end; c += kColumnsAtOnce) {
    job.codes[c * job.ld_codes + at.row] = static_cast<std::uint8_t>(code_of(job.panel[c * job.ld + at.row], inverse, zero, largest_code));
  }
}

__global__ void __launch_bounds__(kLanes* kColumnsAtOnce) subtract(const __grid_constant__ quantize::CodesJob job) {
  const PartOfGroup at(job.rows, job.columns, job.group);
  const Grid& grid = job.grids[at.group * job.parts + at.part];
  const bool there = at.row < job.there;
  const float scale = there ? grid.scale[threadIdx.x] : 0.0f, zero = there ? grid.zero[threadIdx.x] : 0.0f;
  for (std::int64_t c = at.begin + threadIdx.y; c < at.end; c += kColumnsAtOnce) {
    const float code = there ? static_cast<float>(job.codes[c * job.ld_codes + at.row]) : 0.0f;
    job.errors[c * job.ld + at.row] = job.panel[c * job.ld + at.row] - (code - zero) * scale;
  }
}

__global__ void __launch_bounds__(kLanes* kColumnsAtOnce)
    make_steps(const __grid_constant__ quantize::ImproveJob job, const Grid* grids, float* steps) {
  const std::int64_t part = blockIdx.x, row = part * kLanes + threadIdx.x;
  const float zero = grids[part].zero[threadIdx.x];
  for (std::int64_t c = threadIdx.y; c < job.width; c += kColumnsAtOnce) {
    steps[c * job.rows + row] = static_cast<float>(job.codes[c * job.rows + row]) - zero;
  }
}

// sums += alpha * sum over columns of a * b, a thread a row.
__global__ void __launch_bounds__(kThreads)
    add_dots(double alpha, const float* a, const float* b, std::int64_t columns, std::int64_t width, double* sums) {
  const std::int64_t row = thread_index();
  if (row >= width) return;
  float dot = 0.0f;
#pragma unroll 4
  for (std::int64_t c = 0; c < columns; ++c) dot += a[c * width + row] * b[c * width + row];
  sums[row] += alpha * static_cast<double>(dot);
}

__global__ void __launch_bounds__(kLanes)
    fit_scales(const __grid_constant__ quantize::ImproveJob job, const __grid_constant__ quantize::Scheme scheme, Grid* grids) {
  const std::int64_t part = blockIdx.x, row = part * kLanes + threadIdx.x;
  Grid& grid = grids[part];
  float slope = 0.0f, curve = 0.0f;
#pragma unroll 4
  for (std::int64_t c = 0; c < job.width; ++c) {
    const std::int64_t at = c * job.rows + row;
    slope += job.gradients[at] * job.steps[at];
    curve += job.pushes[at] * job.steps[at];
  }
  const float before = grid.scale[threadIdx.x];
  const float scale = quantize::fitted_scale(scheme, slope, curve, before, job.cost[row]);
  const float change = before - scale;
  if (change == 0.0f) return;
  grid.scale[threadIdx.x] = scale;
  grid.inverse[threadIdx.x] = 1.0f / scale;
#pragma unroll 4
  for (std::int64_t c = 0; c < job.width; ++c) {
    const std::int64_t at = c * job.rows + row;
    job.errors[at] += change * job.steps[at];
    job.gradients[at] += change * job.pushes[at];
  }
}

// A block a part and kThreads columns; the groups' grids go with the first.
__global__ void __launch_bounds__(kLanes* kColumnsAtOnce) take_rows(const __grid_constant__ quantize::TakeRowsJob job) {
  const std::int64_t part = blockIdx.x, row = part * kLanes + threadIdx.x;
  if (row >= job.rows || job.marks[row] == 0) return;
  const std::int64_t begin = std::int64_t{blockIdx.y} * kThreads, end = begin + kThreads < job.k ? begin + kThreads : job.k;
  for (std::int64_t c = begin + threadIdx.y; c < end; c += kColumnsAtOnce) job.codes[c * job.ld + row] = job.from_codes[c * job.ld + row];
  if (blockIdx.y != 0) return;
  for (std::int64_t group = threadIdx.y; group < job.groups; group += kColumnsAtOnce) {
    const Grid& from = job.from_grids[group * job.parts + part];
    Grid& to = job.grids[group * job.parts + part];
    to.scale[threadIdx.x] = from.scale[threadIdx.x];
    to.inverse[threadIdx.x] = from.inverse[threadIdx.x];
    to.zero[threadIdx.x] = from.zero[threadIdx.x];
  }
}

}  // namespace billfish::cuda::quantizing
