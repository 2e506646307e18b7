// SPDX-License-Identifier: Apache-2.0
// See errors.hpp. A task takes 128 rows: the weights and each form's errors side by side in one panel [k, forms + 1, 128], so that one
// product with H (or with the samples) serves them all.
#include "quantize/errors.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "quantize/grid.hpp"
#include "quantize/hessian.hpp"
#include "quantize/linear_algebra.hpp"
#include "quantize/panel.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kRows = 128;
constexpr std::int64_t kTile = 256;  // columns of H, or tokens, at once

struct Sums {
  std::vector<double> weight, output;  // of the weights, then of every form's errors
};

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

// sums[m] += the sums of a * b over the columns and rows of matrix m of the panels [columns, width].
void add_dots(const Job& job, const float* a, const float* b, std::int64_t columns, std::vector<double>& sums) {
  float dots[kLanes];
  for (std::size_t m = 0; m < sums.size(); ++m) {
    for (std::int64_t row = 0; row < kRows; row += kLanes) {
      const std::int64_t at = static_cast<std::int64_t>(m) * kRows + row;
      job.scheme.kernels->dot(a + at, b + at, job.width(), columns, dots);
      for (const float dot : dots) sums[m] += static_cast<double>(dot);
    }
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

Sums sums_of_rows(const Job& job, std::int64_t first) {
  const std::int64_t k = job.weights.k, width = job.width();
  const Buffer<float> panel(k * width);
  gather_panel(job.weights, first, kRows, nullptr, 0, k, 1.0f / job.scheme.unit, panel.get(), width);
  for (std::size_t form = 0; form < job.forms.size(); ++form) {
    subtract(job, first, *job.forms[form], panel.get(), panel.get() + (static_cast<std::int64_t>(form) + 1) * kRows);
  }
  Sums sums = {std::vector<double>(job.forms.size() + 1, 0.0), std::vector<double>(job.forms.size() + 1, 0.0)};
  for (std::int64_t begin = 0; begin < k; begin += kTile) {
    add_dots(job, panel.get() + begin * width, panel.get() + begin * width, std::min(kTile, k - begin), sums.weight);
  }
  if (job.algebra == nullptr) return sums;
  const Buffer<float> space(kTile * width);
  if (job.h != nullptr) {
    add_moments(job, panel.get(), space.get(), sums.output);
  } else {
    add_tokens(job, panel.get(), space.get(), sums.output);
  }
  return sums;
}

double relative(double lost, double whole) {
  if (lost <= 0.0) return 0.0;  // rounding may take a sum of nothing below 0
  return whole > 0.0 ? std::sqrt(lost / whole) : std::numeric_limits<double>::infinity();
}

}  // namespace

Result<std::vector<Errors>> errors_of(const Options& options, const Weights& weights, const std::vector<const Quantized*>& forms,
                                      const float* h, const Samples& samples) {
  const std::int64_t tasks = ceil_div(weights.n, kRows);
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
  std::vector<Sums> parts(static_cast<std::size_t>(tasks));
  const auto body = [&](std::int64_t task) -> Status {
    parts[static_cast<std::size_t>(task)] = sums_of_rows(job, task * kRows);
    return {};
  };
  if (job.algebra != nullptr) {
    const LinearAlgebra::OneThread alone(*job.algebra);
    BILLFISH_RETURN_IF_ERROR(run_all(options.parallel, tasks, body));
  } else {
    BILLFISH_RETURN_IF_ERROR(run_all(options.parallel, tasks, body));
  }
  std::vector<Errors> errors(forms.size());
  for (std::size_t form = 0; form < forms.size(); ++form) {
    double lost = 0, whole = 0, output_lost = 0, output_whole = 0;
    for (const Sums& part : parts) {
      whole += part.weight[0];
      lost += part.weight[form + 1];
      output_whole += part.output[0];
      output_lost += part.output[form + 1];
    }
    errors[form].weight = relative(lost, whole);
    if (job.algebra != nullptr) errors[form].output = relative(output_lost, output_whole);
  }
  return errors;
}

}  // namespace billfish::quantize
