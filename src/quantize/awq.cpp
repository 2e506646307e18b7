// SPDX-License-Identifier: Apache-2.0
// AWQ's search for scales of channels. Matrices that share an input x are rounded as Q(W diag(s)) and given x / s: a channel whose s is
// large is rounded more finely, at its group's expense. s = a^r / w^(1-r) weighs how large a channel's activations are (a) against how
// much of its groups' ranges its weights take up (w). Called by api/ and for whole models; the rounding is grid.cpp's.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "quantize/awq_inputs.hpp"
#include "quantize/grid.hpp"
#include "quantize/linear_algebra.hpp"
#include "quantize/nearest.hpp"
#include "quantize/panel.hpp"
#include "quantize/quantize.hpp"

namespace billfish::quantize {
namespace {

constexpr int kRatios = 20;                     // r = 0, 1/20, ... 19/20; before them s = 1
constexpr double kMostLog = 9.2;                // s within 1e-4 to 1e4: f16 scales have to hold what becomes of the weights
constexpr std::int64_t kTileWeights = 1 << 20;  // 4 MB of errors, which a last-level cache holds
constexpr std::int64_t kMostRows = 256;         // of a tile; both in whole panels

std::size_t index(std::int64_t at) { return static_cast<std::size_t>(at); }

Status check(const std::vector<Weights>& matrices, const Samples& samples) {
  if (matrices.empty()) return invalid_argument("count is 0; AWQ needs at least one matrix");
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    if (matrices[i].n < 1 || matrices[i].k < 1) {
      return invalid_argument("matrix " + std::to_string(i) + " is " + std::to_string(matrices[i].n) + " x " +
                              std::to_string(matrices[i].k) + "; both must be 1 or more");
    }
    if (matrices[i].k != matrices[0].k) {
      return invalid_argument("matrix " + std::to_string(i) + " has k = " + std::to_string(matrices[i].k) +
                              " and matrix 0 has k = " + std::to_string(matrices[0].k) + "; matrices that share an input have the same");
    }
  }
  if ((samples.x != nullptr && samples.tokens > 0) || samples.hessian != nullptr) return {};
  return invalid_argument("samples hold neither tokens nor a hessian; AWQ needs one of them");
}

// How much of its groups' ranges each channel takes up: mean over rows of |w| / largest of the group; groups of zeros count as 0.
std::vector<double> shares(const std::vector<Weights>& matrices, std::int64_t k, std::int64_t group, const Parallel& parallel) {
  std::vector<double> sums(index(k), 0.0);
  double rows = 0;
  for (const Weights& weights : matrices) rows += static_cast<double>(weights.n);
  parallel.run(ceil_div(k, group), [&](std::int64_t g) {
    const std::int64_t begin = g * group, end = std::min(k, begin + group);
    for (const Weights& weights : matrices) {
      for (std::int64_t row = 0; row < weights.n; ++row) {
        const float* const at = weights.data + row * weights.ld;
        float largest = 0;
        for (std::int64_t c = begin; c < end; ++c) largest = std::max(largest, std::fabs(at[c]));
        if (largest == 0) continue;
        for (std::int64_t c = begin; c < end; ++c) sums[index(c)] += std::fabs(at[c] / largest);
      }
    }
    for (std::int64_t c = begin; c < end; ++c) sums[index(c)] /= rows;
  });
  return sums;
}

// The scales of one ratio, around 1. Channels that no sample or no weight uses keep 1.
std::vector<float> scales_of(double ratio, const std::vector<float>& magnitudes, const std::vector<double>& share) {
  std::vector<double> logs(share.size());
  double least = std::numeric_limits<double>::infinity(), most = -least;
  for (std::size_t c = 0; c < logs.size(); ++c) {
    if (!(magnitudes[c] > 0) || !(share[c] > 0)) continue;
    logs[c] = ratio * std::log(static_cast<double>(magnitudes[c])) - (1 - ratio) * std::log(share[c]);
    least = std::min(least, logs[c]);
    most = std::max(most, logs[c]);
  }
  std::vector<float> scales(share.size(), 1.0f);
  for (std::size_t c = 0; c < logs.size(); ++c) {
    if (!(magnitudes[c] > 0) || !(share[c] > 0)) continue;
    scales[c] = static_cast<float>(std::exp(std::clamp(logs[c] - (least + most) / 2, -kMostLog, kMostLog)));
  }
  return scales;
}

// What becomes of the outputs under a choice of scales: sums of squares over all matrices, each in tiles of rows.
class Losses {
 public:
  // largest: of each matrix.
  Losses(const Options& options, const std::vector<Weights>& matrices, const std::vector<float>& largest, const AwqInputs& inputs,
         const LinearAlgebra& algebra)
      : options_(options), inputs_(inputs), k_(matrices[0].k), algebra_(algebra) {
    rows_ = std::clamp(kTileWeights / k_ / kLanes * kLanes, std::int64_t{kLanes}, kMostRows);
    for (std::size_t i = 0; i < matrices.size(); ++i) {
      for (std::int64_t row = 0; row < matrices[i].n; row += rows_) tiles_.push_back({&matrices[i], row, unit_of(largest[i])});
    }
  }

  // One a candidate: |X (W - Q(W s) / s)|^2; of an empty candidate |X W|^2.
  Result<std::vector<double>> of(const std::vector<std::vector<float>>& candidates) const {
    const auto count = static_cast<std::int64_t>(candidates.size()), tasks = count * static_cast<std::int64_t>(tiles_.size());
    const std::int64_t slots = std::min<std::int64_t>(tasks, options_.parallel.threads());
    std::vector<double> parts(index(tasks));
    std::atomic<std::int64_t> next{0};
    const LinearAlgebra::OneThread one_thread(algebra_);
    BILLFISH_RETURN_IF_ERROR(run_all(options_.parallel, slots, [&](std::int64_t) -> Status {
      const Scratch scratch = {Buffer<float>(k_ * rows_), Buffer<float>(inputs_.count * rows_),
                               Buffer<std::uint8_t>(std::min(options_.group, k_) * kLanes), Buffer<float>(k_)};
      for (std::int64_t task = next++; task < tasks; task = next++) {
        parts[index(task)] = of_tile(tiles_[index(task / count)], candidates[index(task % count)], scratch);
      }
      return {};
    }));
    std::vector<double> sums(candidates.size(), 0.0);
    for (std::int64_t task = 0; task < tasks; ++task) sums[index(task % count)] += parts[index(task)];
    return sums;
  }

 private:
  struct Tile {
    const Weights* weights;
    std::int64_t begin;
    float unit;
  };
  struct Scratch {
    Buffer<float> errors;   // [k, rows_]: weights in units, transposed, and then what rounding does to them
    Buffer<float> outputs;  // [count, rows_]
    Buffer<std::uint8_t> codes;
    Buffer<float> importance;  // [k]: mean square of what a scaled channel is given
  };

  double of_tile(const Tile& tile, const std::vector<float>& scales, const Scratch& scratch) const {
    const std::int64_t rows = std::min(rows_, ceil_div(tile.weights->n - tile.begin, kLanes) * kLanes);  // those behind the last are 0
    float* const errors = scratch.errors.get();
    gather_panel(*tile.weights, tile.begin, rows, nullptr, 0, k_, 1.0f / tile.unit, errors, rows_);
    if (!scales.empty()) {
      float* const importance = scratch.importance.get();
      for (std::int64_t c = 0; c < k_; ++c) importance[c] = inputs_.squares[index(c)] / (scales[index(c)] * scales[index(c)]);
      for (std::int64_t row = 0; row < rows; row += kLanes) round_panel(tile, scales, importance, errors + row, scratch.codes.get());
    }
    float* const outputs = scratch.outputs.get();
    algebra_.multiply(LinearAlgebra::Op::plain, LinearAlgebra::Op::plain, inputs_.count, rows, k_, 1.0f, inputs_.rows.data(), k_, errors,
                      rows_, 0.0f, outputs, rows_);
    double sum = 0;
    for (std::int64_t i = 0; i < inputs_.count; ++i) {
      for (std::int64_t row = 0; row < rows; row += kLanes) {
        float of_lanes[kLanes];  // side by side, so that the compiler may add them so
        for (int lane = 0; lane < kLanes; ++lane) of_lanes[lane] = outputs[i * rows_ + row + lane] * outputs[i * rows_ + row + lane];
        for (int half = kLanes / 2; half > 0; half /= 2) {
          for (int lane = 0; lane < half; ++lane) of_lanes[lane] += of_lanes[lane + half];
        }
        sum += static_cast<double>(of_lanes[0]);
      }
    }
    return sum * tile.unit * tile.unit;
  }

  // Weights [k, kLanes] -> what rounding them does to them under these scales.
  void round_panel(const Tile& tile, const std::vector<float>& scales, const float* importance, float* panel, std::uint8_t* codes) const {
    const Scheme scheme = {options_.type, options_.scale_type, false, tile.unit, &best_lane_kernels()};
    for (std::int64_t begin = 0; begin < k_; begin += options_.group) {
      const std::int64_t columns = std::min(options_.group, k_ - begin);
      float* const part = panel + begin * rows_;
      multiply_rows(part, columns, scales.data() + begin, false);
      Grid grid;
      bool smaller[kLanes];
      choose_grid(scheme, part, rows_, columns, {importance + begin}, grid, smaller);
      scheme.kernels->encode(part, rows_, columns, grid, scheme.largest_code(), codes, kLanes);
      scheme.kernels->subtract(part, rows_, columns, grid, codes, kLanes, part);
      multiply_rows(part, columns, scales.data() + begin, true);
    }
  }
  void multiply_rows(float* part, std::int64_t columns, const float* scales, bool inverse) const {
    for (std::int64_t c = 0; c < columns; ++c) {
      const float factor = inverse ? 1.0f / scales[c] : scales[c];
      for (int lane = 0; lane < kLanes; ++lane) part[c * rows_ + lane] *= factor;
    }
  }

  const Options& options_;
  const AwqInputs& inputs_;
  std::int64_t k_, rows_ = 0;
  const LinearAlgebra& algebra_;
  std::vector<Tile> tiles_;
};

}  // namespace

Result<AwqScales> awq_scales(const Options& options, const std::vector<Weights>& weights, const Samples& samples) {
  BILLFISH_RETURN_IF_ERROR(check(weights, samples));
  const Result<const LinearAlgebra*> algebra = LinearAlgebra::get();
  if (!algebra.ok()) return algebra.status();
  const std::int64_t k = weights[0].k;
  std::vector<float> largest;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Result<float> one = largest_weight(weights[i], options.parallel);
    if (!one.ok()) return Status(one.status().code(), "matrix " + std::to_string(i) + ": " + one.status().message());
    BILLFISH_RETURN_IF_ERROR(check_scale_range(options, *one));
    largest.push_back(*one);
  }
  const std::vector<double> share = shares(weights, k, options.group, options.parallel);
  const Result<AwqInputs> inputs = awq_inputs(samples, k, options.seed, options.parallel);
  if (!inputs.ok()) return inputs.status();

  std::vector<std::vector<float>> candidates(1, std::vector<float>(index(k), 1.0f));
  for (int i = 0; i < kRatios; ++i) candidates.push_back(scales_of(static_cast<double>(i) / kRatios, inputs->magnitudes, share));
  candidates.emplace_back();
  const Losses losses(options, weights, largest, *inputs, **algebra);
  const Result<std::vector<double>> squares = losses.of(candidates);
  if (!squares.ok()) return squares.status();
  const double whole = squares->back();

  AwqScales out;
  for (std::int64_t i = 0; i <= kRatios; ++i) {
    const double square = (*squares)[index(i)];
    if (square < (*squares)[index(out.best)]) out.best = i;
    out.losses.push_back(whole > 0 ? std::sqrt(square / whole) : 0.0);
  }
  out.scales = std::move(candidates[index(out.best)]);
  return out;
}

}  // namespace billfish::quantize
