// SPDX-License-Identifier: Apache-2.0
// What the CPU does to panels: parts of 32 rows, each by the loops of lanes.hpp.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "quantize/cpu_engine.hpp"
#include "quantize/grid.hpp"
#include "quantize/panel.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kStep = 16;  // columns of codes that are cut off behind the last row at once

// Calls body(part, grid) for every part of every group of the job; columns [begin, begin + columns) of it.
template <class Body>
void each_part(const CodesJob& job, Body&& body) {
  for (std::int64_t begin = 0; begin < job.columns; begin += job.group) {
    const std::int64_t columns = std::min(job.group, job.columns - begin);
    for (std::int64_t row = 0; row < job.rows; row += kLanes) {
      const auto lanes = static_cast<std::size_t>(std::clamp<std::int64_t>(job.there - row, 0, kLanes));
      body(begin, columns, row, lanes, job.grids[begin / job.group * job.parts + row / kLanes]);
    }
  }
}

}  // namespace

void CpuEngine::gather(const GatherJob& job) {
  const Weights weights = {job.weights, job.n, 0, job.ld};
  gather_panel(weights, job.first, job.rows, job.order, job.begin, job.count, job.factor, job.panel, job.ld_panel);
  for (std::int64_t i = 0; job.dead != nullptr && i < job.count; ++i) {
    const std::int64_t column = job.order != nullptr ? job.order[job.begin + i] : job.begin + i;
    if (job.dead[column] != 0) std::fill_n(job.panel + i * job.ld_panel, job.rows, 0.0f);
  }
}

void CpuEngine::choose(const ChooseJob& job) {
  bool smaller[kLanes];
  for (std::int64_t begin = 0; begin < job.columns; begin += job.group) {
    const std::int64_t columns = std::min(job.group, job.columns - begin), group = begin / job.group;
    for (std::int64_t row = 0; row < job.rows; row += kLanes) {
      Price price = {job.importance == nullptr ? nullptr : job.importance + begin};
      if (job.moments != nullptr) price = {nullptr, job.moments + begin * (job.ld_moments + 1), job.ld_moments, algebra_};
      Grid& grid = job.grids[group * job.parts + row / kLanes];
      choose_grid(*job.scheme, job.panel + begin * job.ld + row, job.ld, columns, price, grid, smaller);
      for (int lane = 0; lane < kLanes; ++lane) job.clipped[group * job.ld_clipped + row + lane] = smaller[lane] ? 1 : 0;
    }
  }
}

void CpuEngine::encode(const CodesJob& job) {
  alignas(64) std::uint8_t block[kStep * kLanes];
  each_part(job, [&](std::int64_t begin, std::int64_t columns, std::int64_t row, std::size_t lanes, const Grid& grid) {
    const float* const from = job.panel + begin * job.ld + row;
    std::uint8_t* const to = job.codes + begin * job.ld_codes + row;
    if (lanes == kLanes) return kernels_.encode(from, job.ld, columns, grid, job.scheme->largest_code(), to, job.ld_codes);
    for (std::int64_t c = 0; c < columns && lanes > 0; c += kStep) {
      const std::int64_t count = std::min(kStep, columns - c);
      kernels_.encode(from + c * job.ld, job.ld, count, grid, job.scheme->largest_code(), block, kLanes);
      for (std::int64_t i = 0; i < count; ++i) std::memcpy(to + (c + i) * job.ld_codes, block + i * kLanes, lanes);
    }
  });
}

void CpuEngine::subtract(const CodesJob& job) {
  alignas(64) std::uint8_t block[kStep * kLanes] = {};
  each_part(job, [&](std::int64_t begin, std::int64_t columns, std::int64_t row, std::size_t lanes, const Grid& grid) {
    const float* const from = job.panel + begin * job.ld + row;
    float* const to = job.errors + begin * job.ld + row;
    const std::uint8_t* const codes = job.codes + begin * job.ld_codes + row;
    if (lanes == kLanes) return kernels_.subtract(from, job.ld, columns, grid, codes, job.ld_codes, to);
    Grid some = grid;  // of rows that are not there nothing is known
    std::fill(some.scale + lanes, some.scale + kLanes, 0.0f);
    std::fill(some.zero + lanes, some.zero + kLanes, 0.0f);
    for (std::int64_t c = 0; c < columns; c += kStep) {
      const std::int64_t count = std::min(kStep, columns - c);
      for (std::int64_t i = 0; i < count && lanes > 0; ++i) std::memcpy(block + i * kLanes, codes + (c + i) * job.ld_codes, lanes);
      kernels_.subtract(from + c * job.ld, job.ld, count, some, block, kLanes, to + c * job.ld);
    }
  });
}

void CpuEngine::feed_back(const FeedBackJob& job) {
  const auto width = static_cast<int>(job.width);
  const Buffer<float> links(kMostWidth * kMostWidth);
  for (int j = 0; j < width; ++j) {
    for (int i = j + 1; i < width; ++i) links[i * kMostWidth + j] = job.links[j * job.ld_links + i];
  }
  const Grid* grids[kMostWidth];
  float cost[kLanes];
  for (std::int64_t row = 0; row < job.rows; row += kLanes) {
    for (int i = 0; i < width; ++i) grids[i] = job.grids + job.group_of[i] * job.parts + row / kLanes;
    std::fill(cost, cost + kLanes, 0.0f);
    kernels_.feed_back({job.targets + row, job.weights + row, job.rows, width, links.get(), job.pivots, grids, job.scheme->largest_code(),
                        job.errors + row, job.codes + row, job.rows, cost});
    for (int lane = 0; lane < kLanes; ++lane) job.cost[row + lane] += static_cast<double>(cost[lane]);
  }
}

void CpuEngine::improve(const ImproveJob& job) {
  const auto width = static_cast<int>(job.width);
  const Buffer<float> links(kMostWidth * kMostWidth);
  float moments[kMostWidth], gains[kLanes];
  const Grid* grids[kMostWidth];
  for (int i = 0; i < width; ++i) {
    const float* const row = job.moments + i * job.ld_moments;
    moments[i] = row[i] > 0.0f ? row[i] * job.down + job.damping : 0.0f;
    for (int j = 0; j < i; ++j) links[i * kMostWidth + j] = row[j] * job.down;
  }
  for (std::int64_t row = 0; row < job.rows; row += kLanes) {
    for (int i = 0; i < width; ++i) grids[i] = job.grids + (job.first + i) / job.group * job.parts + row / kLanes;
    std::fill(gains, gains + kLanes, 0.0f);
    kernels_.improve({job.gradients + row, job.rows, width, links.get(), moments, grids, job.scheme->largest_code(), job.errors + row,
                      job.codes + row, job.rows, gains});
    for (int lane = 0; lane < kLanes; ++lane) job.cost[row + lane] -= static_cast<double>(gains[lane]);
  }
}

void CpuEngine::make_steps(const ImproveJob& job, float* steps) {
  for (std::int64_t row = 0; row < job.rows; row += kLanes) {
    const Grid& grid = job.grids[job.first / job.group * job.parts + row / kLanes];
    for (std::int64_t c = 0; c < job.width; ++c) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const std::int64_t at = c * job.rows + row + lane;
        steps[at] = static_cast<float>(job.codes[at]) - grid.zero[lane];
      }
    }
  }
}

void CpuEngine::fit_scales(const ImproveJob& job) {
  for (std::int64_t row = 0; row < job.rows; row += kLanes) {
    Grid& grid = job.grids[job.first / job.group * job.parts + row / kLanes];
    float slope[kLanes], curve[kLanes], change[kLanes];
    kernels_.dot(job.gradients + row, job.steps + row, job.rows, job.width, slope);
    kernels_.dot(job.pushes + row, job.steps + row, job.rows, job.width, curve);
    for (int lane = 0; lane < kLanes; ++lane) {
      const float scale = fitted_scale(*job.scheme, slope[lane], curve[lane], grid.scale[lane], job.cost[row + lane]);
      change[lane] = grid.scale[lane] - scale;
      if (change[lane] == 0.0f) continue;
      grid.scale[lane] = scale;
      grid.inverse[lane] = 1.0f / scale;
    }
    for (std::int64_t c = 0; c < job.width; ++c) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const std::int64_t at = c * job.rows + row + lane;
        job.errors[at] += change[lane] * job.steps[at];
        job.gradients[at] += change[lane] * job.pushes[at];
      }
    }
  }
}

void CpuEngine::take_rows(const TakeRowsJob& job) {
  for (std::int64_t row = 0; row < job.rows; ++row) {
    if (job.marks[row] == 0) continue;
    for (std::int64_t column = 0; column < job.k; ++column) job.codes[column * job.ld + row] = job.from_codes[column * job.ld + row];
    const std::int64_t part = row / kLanes, lane = row % kLanes;
    for (std::int64_t group = 0; group < job.groups; ++group) {
      const Grid& from = job.from_grids[group * job.parts + part];
      Grid& to = job.grids[group * job.parts + part];
      to.scale[lane] = from.scale[lane];
      to.inverse[lane] = from.inverse[lane];
      to.zero[lane] = from.zero[lane];
    }
  }
}

void CpuEngine::add_dots(double alpha, const float* a, const float* b, std::int64_t columns, std::int64_t width, double* sums) {
  float dots[kLanes];
  for (std::int64_t at = 0; at < width; at += kLanes) {
    kernels_.dot(a + at, b + at, width, columns, dots);
    for (int lane = 0; lane < kLanes; ++lane) sums[at + lane] += alpha * static_cast<double>(dots[lane]);
  }
}

void CpuEngine::scatter_rows(void* to, const void* from, std::size_t bytes, const std::int32_t* order, std::int64_t count) {
  for (std::int64_t place = 0; place < count; ++place) {
    std::memcpy(static_cast<char*>(to) + static_cast<std::size_t>(order[place]) * bytes,
                static_cast<const char*>(from) + static_cast<std::size_t>(place) * bytes, bytes);
  }
}

}  // namespace billfish::quantize
