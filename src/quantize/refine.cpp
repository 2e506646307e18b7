// SPDX-License-Identifier: Apache-2.0
// See refine.hpp. The gradient of a block of columns is one product of all errors with its rows of H; within the block, groups bring it up
// to date for each other, and improve (lanes.hpp) does so for columns.
#include "quantize/refine.hpp"

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace billfish::quantize {
namespace {

constexpr std::int64_t kRows = kRefineRows, kParts = kRows / kLanes;
// A round that took off less of the cost is the last. A round takes as long as GPTQ's own sweep, 0.9 s at 4096 x 4096 on two cores: wide
// layers go on only where much is to be had.
constexpr double kWorthIt = 0.01, kWorthItWide = 0.1;
constexpr std::int64_t kWide = 2048;  // columns

class Rounds {
 public:
  Rounds(const RefineJob& job, const RefineRows& rows)
      : job_(job),
        rows_(rows),
        down_(static_cast<float>(1.0 / job.mean)),
        damping_(static_cast<float>(job.damping)),
        gradients_(kMostWidth * kRows),
        before_(kMostWidth * kRows),
        changes_(kMostWidth * kRows),
        steps_(kMostWidth * kRows),
        pushes_(kMostWidth * kRows),
        links_(kMostWidth * kMostWidth) {}

  // Returns what the cost of all rows fell by.
  double run(bool fit) {
    double gain = 0;
    const std::int64_t groups_at_once = std::max<std::int64_t>(1, kMostWidth / job_.group);
    const std::int64_t width = job_.group > kMostWidth ? kMostWidth : groups_at_once * job_.group;
    for (std::int64_t begin = 0; begin < job_.k; begin += width) gain += block(begin, std::min(width, job_.k - begin), fit);
    return gain;
  }

 private:
  using Op = LinearAlgebra::Op;

  double block(std::int64_t begin, std::int64_t width, bool fit) {
    float* const errors = rows_.errors + begin * kRows;
    std::memcpy(before_.get(), errors, static_cast<std::size_t>(width * kRows) * sizeof(float));
    job_.algebra->multiply(Op::plain, Op::plain, width, kRows, job_.k, down_, job_.h + begin * job_.k, job_.k, rows_.errors, kRows, 0.0f,
                           gradients_.get(), kRows);
    for (std::int64_t i = 0; i < width * kRows; ++i) gradients_[i] += damping_ * errors[i];
    double gain = 0;
    const std::int64_t step = std::min<std::int64_t>(job_.group, kMostWidth);
    for (std::int64_t inner = 0; inner < width; inner += step) {
      const std::int64_t columns = std::min(step, width - inner);
      float* const gradients = gradients_.get() + inner * kRows;
      if (inner > 0) {
        for (std::int64_t i = (inner - step) * kRows; i < inner * kRows; ++i) changes_[i] = errors[i] - before_[i];
        job_.algebra->multiply(Op::transposed, Op::plain, columns, kRows, inner, down_, job_.h + begin * job_.k + begin + inner, job_.k,
                               changes_.get(), kRows, 1.0f, gradients, kRows);
      }
      const bool whole = job_.group <= kMostWidth;  // the group's gradient is at hand, so its scale can be fitted
      if (fit && whole) gain += fit_scales(begin + inner, columns, gradients);
      gain += improve_codes(begin + inner, columns, gradients);
    }
    return gain;
  }

  // Along the line of all values of a group growing alike the cost is a parabola too: its least point, rounded to what can be stored.
  double fit_scales(std::int64_t begin, std::int64_t columns, float* gradients) {
    const std::int64_t group = begin / job_.group;
    for (std::int64_t part = 0; part < kParts; ++part) {
      const Grid& grid = rows_.grids[group * kParts + part];
      for (std::int64_t c = 0; c < columns; ++c) {
        for (int lane = 0; lane < kLanes; ++lane) {
          const std::int64_t at = c * kRows + part * kLanes + lane;
          steps_[at] = static_cast<float>(rows_.codes[begin * kRows + at]) - grid.zero[lane];
        }
      }
    }
    job_.algebra->multiply(Op::plain, Op::plain, columns, kRows, columns, down_, job_.h + begin * job_.k + begin, job_.k, steps_.get(),
                           kRows, 0.0f, pushes_.get(), kRows);
    for (std::int64_t i = 0; i < columns * kRows; ++i) pushes_[i] += damping_ * steps_[i];
    double gain = 0;
    for (std::int64_t part = 0; part < kParts; ++part) {
      Grid& grid = rows_.grids[group * kParts + part];
      float slope[kLanes], curve[kLanes], change[kLanes];
      job_.scheme->kernels->dot(gradients + part * kLanes, steps_.get() + part * kLanes, kRows, columns, slope);
      job_.scheme->kernels->dot(pushes_.get() + part * kLanes, steps_.get() + part * kLanes, kRows, columns, curve);
      for (int lane = 0; lane < kLanes; ++lane) {
        change[lane] = 0.0f;
        if (!(curve[lane] > 0.0f)) continue;
        const float scale = storable_scale(*job_.scheme, grid.scale[lane] + slope[lane] / curve[lane]);
        const float less = grid.scale[lane] - scale;  // errors grow by less * steps
        const double fell = -static_cast<double>(less) * (2.0 * slope[lane] + static_cast<double>(less) * curve[lane]);
        if (!(fell > 0.0) || !(scale > 0.0f) || !std::isfinite(scale)) continue;
        change[lane] = less;
        grid.scale[lane] = scale;
        grid.inverse[lane] = 1.0f / scale;
        gain += fell;
        rows_.cost[part * kLanes + lane] -= fell;
      }
      for (std::int64_t c = 0; c < columns; ++c) {
        for (int lane = 0; lane < kLanes; ++lane) {
          const std::int64_t at = c * kRows + part * kLanes + lane;
          rows_.errors[begin * kRows + at] += change[lane] * steps_[at];
          gradients[at] += change[lane] * pushes_[at];
        }
      }
    }
    return gain;
  }

  double improve_codes(std::int64_t begin, std::int64_t columns, const float* gradients) {
    float moments[kMostWidth], gains[kLanes];
    const Grid* grids[kMostWidth];
    for (std::int64_t i = 0; i < columns; ++i) {
      const float* const row = job_.h + (begin + i) * job_.k + begin;
      moments[i] = row[i] > 0.0f ? row[i] * down_ + damping_ : 0.0f;
      for (std::int64_t j = 0; j < i; ++j) links_[i * kMostWidth + j] = row[j] * down_;
    }
    double gain = 0;
    for (std::int64_t part = 0; part < kParts; ++part) {
      for (std::int64_t i = 0; i < columns; ++i) grids[i] = rows_.grids + (begin + i) / job_.group * kParts + part;
      std::fill(gains, gains + kLanes, 0.0f);
      const std::int64_t at = begin * kRows + part * kLanes;
      job_.scheme->kernels->improve({gradients + part * kLanes, kRows, static_cast<int>(columns), links_.get(), moments, grids,
                                     job_.scheme->largest_code(), rows_.errors + at, rows_.codes + at, kRows, gains});
      for (int lane = 0; lane < kLanes; ++lane) {
        rows_.cost[part * kLanes + lane] -= static_cast<double>(gains[lane]);
        gain += static_cast<double>(gains[lane]);
      }
    }
    return gain;
  }

  const RefineJob& job_;
  const RefineRows& rows_;
  float down_, damping_;
  Buffer<float> gradients_, before_, changes_;  // [block, kRows]
  Buffer<float> steps_, pushes_;                // [group, kRows]: codes - zeros, and what they do to gradients
  Buffer<float> links_;                         // [kMostWidth, kMostWidth]
};

}  // namespace

void refine(const RefineJob& job, const RefineRows& rows) {
  constexpr double kSmallest = 1e-30, kLargest = 1e30;  // beyond, moments over their mean leave f32
  if (job.mean < kSmallest || job.mean > kLargest) return;
  Rounds rounds(job, rows);
  const double worth_it = job.k > kWide ? kWorthItWide : kWorthIt;
  for (int round = 0; round < job.rounds; ++round) {
    const double cost = std::accumulate(rows.cost, rows.cost + kRows, 0.0);
    // The first round leaves scales alone: where no code changes (inputs that know nothing of each other) nothing does.
    if (!(rounds.run(round > 0) > worth_it * cost)) return;
  }
}

}  // namespace billfish::quantize
