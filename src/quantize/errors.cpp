// SPDX-License-Identifier: Apache-2.0
// See errors.hpp. A task takes 128 rows: the weights and each form's errors side by side in one panel [k, forms + 1, 128], so that one
// product with H (or with the samples) serves them all.
#include "quantize/errors.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>

#include "quantize/grid.hpp"
#include "quantize/hessian.hpp"
#include "quantize/linear_algebra.hpp"
#include "quantize/panel.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kRows = 128;
constexpr std::int64_t kTile = 256;  // columns of H, or tokens, at once

struct Job {
  const Options& options;
  const Weights& weights;
  const std::vector<const Quantized*>& forms;
  const float* h;
  SampleRows x;
  std::int64_t tokens;
  const LinearAlgebra* algebra;
  Scheme scheme;

  std::int64_t width() const { return (static_cast<std::int64_t>(forms.size()) + 1) * kRows; }
};

// errors[:, 1 + form] of the rows from `first` on.
void subtract(const Job& job, std::int64_t first, const Quantized& form, const float* panel, float* errors) {
  const std::int64_t n = job.weights.n, k = job.weights.k;
  alignas(64) std::uint8_t block[16 * kLanes] = {};
  for (std::int64_t begin = 0; begin < k; begin += job.options.group) {
    const std::int64_t columns = std::min(job.options.group, k - begin), group = begin / job.options.group;
    for (std::int64_t row = 0; row < kRows; row += kLanes) {
      const int lanes = static_cast<int>(std::clamp<std::int64_t>(n - first - row, 0, kLanes));
      Grid grid;
      load_grid(job.scheme, lanes, group * n + first + row, form.scales, form.zeros, grid);
      const std::int64_t at = begin * job.width() + row;
      if (lanes == kLanes) {
        job.scheme.kernels->subtract(panel + at, job.width(), columns, grid, form.codes + begin * n + first + row, n, errors + at);
        continue;
      }
      for (std::int64_t c = 0; c < columns; c += 16) {
        const std::int64_t count = std::min<std::int64_t>(16, columns - c), here = at + c * job.width();
        for (std::int64_t i = 0; i < count && lanes > 0; ++i) {
          std::memcpy(block + i * kLanes, form.codes + (begin + c + i) * n + first + row, static_cast<std::size_t>(lanes));
        }
        job.scheme.kernels->subtract(panel + here, job.width(), count, grid, block, kLanes, errors + here);
      }
    }
  }
}

// sums [forms + 1, kRows] += the sums over columns of a * b, panels [columns, width].
void add_dots(const Job& job, const float* a, const float* b, std::int64_t columns, std::vector<double>& sums) {
  float dots[kLanes];
  for (std::int64_t at = 0; at < job.width(); at += kLanes) {
    job.scheme.kernels->dot(a + at, b + at, job.width(), columns, dots);
    for (int lane = 0; lane < kLanes; ++lane) sums[static_cast<std::size_t>(at + lane)] += static_cast<double>(dots[lane]);
  }
}

// tr(E H E^T) by tiles of columns J: twice what H[0:J, J] says of E_J and the columns before it, once what H[J, J] says.
void add_moments(const Job& job, const float* panel, float* space, std::vector<double>& sums) {
  using Op = LinearAlgebra::Op;
  const std::int64_t k = job.weights.k, width = job.width();
  for (std::int64_t begin = 0; begin < k; begin += kTile) {
    const std::int64_t columns = std::min(kTile, k - begin);
    const float* const own = panel + begin * width;
    if (begin > 0) {
      job.algebra->multiply(Op::transposed, Op::plain, columns, width, begin, 2.0f, job.h + begin, k, panel, width, 0.0f, space, width);
    }
    job.algebra->multiply(Op::plain, Op::plain, columns, width, columns, 1.0f, job.h + begin * k + begin, k, own, width,
                          begin > 0 ? 1.0f : 0.0f, space, width);
    add_dots(job, own, space, columns, sums);
  }
}

void add_tokens(const Job& job, const float* panel, float* space, std::vector<double>& sums) {
  using Op = LinearAlgebra::Op;
  for (std::int64_t first = 0; first < job.tokens; first += kTile) {
    const std::int64_t tokens = std::min(kTile, job.tokens - first);
    job.algebra->multiply(Op::plain, Op::plain, tokens, job.width(), job.weights.k, 1.0f, job.x.data + first * job.x.ld, job.x.ld, panel,
                          job.width(), 0.0f, space, job.width());
    add_dots(job, space, space, tokens, sums);
  }
}

// [forms + 1, kRows] each
Squares squares_of_rows(const Job& job, std::int64_t first) {
  const std::int64_t k = job.weights.k, width = job.width();
  const Buffer<float> panel(k * width);
  gather_panel(job.weights, first, kRows, nullptr, 0, k, 1.0f / job.scheme.unit, panel.get(), width);
  for (std::size_t form = 0; form < job.forms.size(); ++form) {
    subtract(job, first, *job.forms[form], panel.get(), panel.get() + (static_cast<std::int64_t>(form) + 1) * kRows);
  }
  const std::vector<double> nothing(static_cast<std::size_t>(width), 0.0);
  Squares squares = {nothing, nothing};
  for (std::int64_t begin = 0; begin < k; begin += kTile) {
    add_dots(job, panel.get() + begin * width, panel.get() + begin * width, std::min(kTile, k - begin), squares.weight);
  }
  if (job.algebra == nullptr) return squares;
  const Buffer<float> space(kTile * width);
  if (job.h != nullptr) {
    add_moments(job, panel.get(), space.get(), squares.output);
  } else {
    add_tokens(job, panel.get(), space.get(), squares.output);
  }
  return squares;
}

double root_of_ratio(double missed, double whole) {
  if (missed <= 0.0) return 0.0;  // rounding may take a sum of nothing below 0
  return whole > 0.0 ? std::sqrt(missed / whole) : std::numeric_limits<double>::infinity();
}

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

}  // namespace

Errors relative(const Squares& missed, const Squares& whole) {
  Errors errors;
  errors.weight = root_of_ratio(sum(missed.weight), sum(whole.weight));
  if (!missed.output.empty()) errors.output = root_of_ratio(sum(missed.output), sum(whole.output));
  return errors;
}

Result<std::vector<Squares>> squares_of(const Options& options, const Weights& weights, const std::vector<const Quantized*>& forms,
                                        const float* h, const Samples& samples) {
  const std::int64_t n = weights.n, tasks = ceil_div(n, kRows);
  const Result<float> largest = largest_weight(weights, options.parallel);
  if (!largest.ok()) return largest.status();
  Job job = {options, weights, forms, h, {}, samples.x == nullptr ? 0 : samples.tokens, nullptr, {}};
  job.scheme = {options.type, options.scale_type, false, unit_of(*largest), &best_lane_kernels()};
  Buffer<float> converted;
  if (h != nullptr || job.tokens > 0) {
    const Result<const LinearAlgebra*> algebra = LinearAlgebra::get();
    if (!algebra.ok()) return algebra.status();
    job.algebra = *algebra;
  }
  if (h == nullptr && job.tokens > 0) {
    converted = Buffer<float>(samples.x_type == ElementType::f32 ? 0 : job.tokens * weights.k);
    job.x = sample_rows(samples, weights.k, 0, job.tokens, converted, options.parallel);
  }
  std::vector<Squares> all(forms.size() + 1);
  for (Squares& squares : all) {
    squares.weight.resize(static_cast<std::size_t>(n));
    if (job.algebra != nullptr) squares.output.resize(static_cast<std::size_t>(n));
  }
  std::optional<LinearAlgebra::OneThread> alone;
  if (job.algebra != nullptr) alone.emplace(*job.algebra);
  const Status done = run_all(options.parallel, tasks, [&](std::int64_t task) -> Status {
    const std::int64_t first = task * kRows, rows = std::min(kRows, n - first);
    const Squares found = squares_of_rows(job, first);
    for (std::size_t m = 0; m < all.size(); ++m) {
      const auto begin = static_cast<std::ptrdiff_t>(m) * kRows;
      std::copy_n(found.weight.begin() + begin, rows, all[m].weight.begin() + first);
      if (job.algebra != nullptr) std::copy_n(found.output.begin() + begin, rows, all[m].output.begin() + first);
    }
    return {};
  });
  if (!done.ok()) return done;
  return all;
}

}  // namespace billfish::quantize
