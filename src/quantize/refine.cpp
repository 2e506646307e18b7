// SPDX-License-Identifier: Apache-2.0
// See refine.hpp. The gradient of a block of columns is one product of all errors with its rows of H; within the block, smaller products
// bring it up to date for a group or 128 columns at a time, and improve (lanes.hpp) does so for columns.
#include "quantize/refine.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace billfish::quantize {
namespace {

// A round that took off less of the cost is the last. A round takes as long as GPTQ's own sweep, 0.9 s at 4096 x 4096 on two cores: wide
// layers go on only where much is to be had.
constexpr double kWorthIt = 0.01, kWorthItWide = 0.1;
constexpr std::int64_t kWide = 2048;  // columns

class Rounds {
 public:
  Rounds(Engine& engine, const RefineJob& job)
      : engine_(engine),
        job_(job),
        step_(std::min<std::int64_t>(job.group, kMostWidth)),
        width_(std::min(job.k, std::max<std::int64_t>(1, engine.columns_at_once() / step_) * step_)),
        down_(static_cast<float>(1.0 / job.mean)),
        damping_(static_cast<float>(job.damping)),
        gradients_(engine, width_ * job.rows),
        before_(engine, width_ * job.rows),
        changes_(engine, width_ * job.rows),
        steps_(engine, step_ * job.rows),
        pushes_(engine, step_ * job.rows) {}

  void run(bool fit) {
    for (std::int64_t begin = 0; begin < job_.k; begin += width_) block(begin, std::min(width_, job_.k - begin), fit);
  }

 private:
  using Op = Engine::Op;

  void block(std::int64_t begin, std::int64_t width, bool fit) {
    const std::int64_t rows = job_.rows, k = job_.k;
    float* const errors = job_.errors + begin * rows;
    copy(before_.get(), errors, width);
    engine_.multiply(Op::plain, Op::plain, width, rows, k, down_, job_.h + begin * k, k, job_.errors, rows, 0.0f, gradients_.get(), rows);
    engine_.add(width * rows, damping_, errors, gradients_.get());
    for (std::int64_t inner = 0; inner < width; inner += step_) {
      const std::int64_t columns = std::min(step_, width - inner);
      float* const gradients = gradients_.get() + inner * rows;
      if (inner > 0) {
        float* const changes = changes_.get() + (inner - step_) * rows;
        copy(changes, errors + (inner - step_) * rows, step_);
        engine_.add(step_ * rows, -1.0f, before_.get() + (inner - step_) * rows, changes);
        engine_.multiply(Op::transposed, Op::plain, columns, rows, inner, down_, job_.h + begin * k + begin + inner, k, changes_.get(),
                         rows, 1.0f, gradients, rows);
      }
      ImproveJob part = {job_.scheme,
                         rows,
                         columns,
                         begin + inner,
                         job_.group,
                         gradients,
                         job_.h + (begin + inner) * (k + 1),
                         k,
                         down_,
                         damping_,
                         job_.grids,
                         job_.parts,
                         errors + inner * rows,
                         job_.codes + (begin + inner) * rows,
                         nullptr,
                         nullptr,
                         job_.cost};
      const bool whole = job_.group <= kMostWidth;  // the group's gradient is at hand, so its scale can be fitted
      if (fit && whole) fit_scales(part);
      engine_.improve(part);
    }
  }

  void fit_scales(ImproveJob part) {
    engine_.make_steps(part, steps_.get());
    engine_.multiply(Op::plain, Op::plain, part.width, part.rows, part.width, down_, part.moments, part.ld_moments, steps_.get(), part.rows,
                     0.0f, pushes_.get(), part.rows);
    engine_.add(part.width * part.rows, damping_, steps_.get(), pushes_.get());
    part.steps = steps_.get();
    part.pushes = pushes_.get();
    engine_.fit_scales(part);
  }

  void copy(float* to, const float* from, std::int64_t columns) {
    const std::size_t bytes = static_cast<std::size_t>(columns * job_.rows) * sizeof(float);
    engine_.copy_rows(to, bytes, from, bytes, bytes, 1);
  }

  Engine& engine_;
  const RefineJob& job_;
  std::int64_t step_, width_;
  float down_, damping_;
  Held<float> gradients_, before_, changes_;  // [block, rows]
  Held<float> steps_, pushes_;                // [group, rows]: codes - zeros, and what they do to gradients
};

}  // namespace

void refine(Engine& engine, const RefineJob& job) {
  constexpr double kSmallest = 1e-30, kLargest = 1e30;  // beyond, moments over their mean leave f32
  if (job.mean < kSmallest || job.mean > kLargest || job.rounds < 1) return;
  std::vector<double> costs(static_cast<std::size_t>(job.rows));
  const auto cost = [&] {
    engine.download(costs.data(), job.cost, costs.size() * sizeof(double));
    return std::accumulate(costs.begin(), costs.end(), 0.0);
  };
  Rounds rounds(engine, job);
  const double worth_it = job.k > kWide ? kWorthItWide : kWorthIt;
  double before = cost();
  for (int round = 0; round < job.rounds; ++round) {
    // The first round leaves scales alone: where no code changes (inputs that know nothing of each other) nothing does.
    rounds.run(round > 0);
    const double after = cost();
    if (!(before - after > worth_it * before)) return;
    before = after;
  }
}

}  // namespace billfish::quantize
