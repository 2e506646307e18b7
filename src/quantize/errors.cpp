// SPDX-License-Identifier: Apache-2.0
// See errors.hpp. A task takes some rows: the weights and each form's errors side by side in one panel [k, forms + 1, rows], so that one
// product with H (or with the samples) serves them all.
#include "quantize/errors.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace billfish::quantize {
namespace {

constexpr std::int64_t kTile = 256;  // columns of H, or tokens, at once

struct Job {
  Engine& engine;
  const Matrix& matrix;
  const std::vector<const Form*>& forms;
  const float* h;
  FloatRows x;
  std::int64_t tokens;

  bool outputs() const { return h != nullptr || tokens > 0; }
};

// Sums of squares of some rows, [forms + 1, rows] each, while they are made.
class Panel {
 public:
  Panel(const Job& job, std::int64_t first, std::int64_t rows)
      : job_(job),
        engine_(job.engine),
        rows_(rows),
        width_((static_cast<std::int64_t>(job.forms.size()) + 1) * rows),
        panel_(engine_, job.matrix.k * width_),
        space_(engine_, job.outputs() ? kTile * width_ : 0),
        weight_(engine_, width_),
        output_(engine_, width_) {
    const Matrix& matrix = job.matrix;
    engine_.gather(
        {matrix.weights, matrix.n, matrix.ld, first, rows, nullptr, nullptr, 0, matrix.k, 1.0f / matrix.scheme.unit, panel_.get(), width_});
    for (std::size_t form = 0; form < job.forms.size(); ++form) {
      const Form& given = *job.forms[form];
      engine_.subtract({&matrix.scheme, panel_.get(), width_, rows, matrix.k, matrix.group, given.grids.get() + first / kLanes,
                        matrix.parts(), given.codes.get() + first, matrix.n, matrix.n - first,
                        panel_.get() + (static_cast<std::int64_t>(form) + 1) * rows});
    }
    for (const Held<double>* sums : {&weight_, &output_}) engine_.fill_zero(sums->get(), static_cast<std::size_t>(width_) * sizeof(double));
  }

  void run() {
    for (std::int64_t begin = 0; begin < job_.matrix.k; begin += kTile) {
      const float* const at = panel_.get() + begin * width_;
      engine_.add_dots(1.0, at, at, std::min(kTile, job_.matrix.k - begin), width_, weight_.get());
    }
    if (job_.h != nullptr) {
      add_moments();
    } else if (job_.tokens > 0) {
      add_tokens();
    }
  }

  // The first `there` rows, to those of the matrix from `first` on.
  void take(std::int64_t first, std::int64_t there, std::vector<Squares>& all) const {
    std::vector<double> sums(static_cast<std::size_t>(width_));
    for (const bool of_outputs : {false, true}) {
      (of_outputs ? output_ : weight_).to_host(engine_, sums.data(), width_);
      for (std::size_t m = 0; m < all.size(); ++m) {
        std::vector<double>& to = of_outputs ? all[m].output : all[m].weight;
        if (!to.empty()) std::copy_n(sums.begin() + static_cast<std::ptrdiff_t>(m) * rows_, there, to.begin() + first);
      }
    }
  }

 private:
  using Op = Engine::Op;

  // tr(E H E^T) by tiles of columns J: twice what H[0:J, J] says of E_J and the columns before it, once what H[J, J] says.
  void add_moments() {
    const std::int64_t k = job_.matrix.k;
    for (std::int64_t begin = 0; begin < k; begin += kTile) {
      const std::int64_t columns = std::min(kTile, k - begin);
      const float* const own = panel_.get() + begin * width_;
      if (begin > 0) {
        engine_.multiply(Op::transposed, Op::plain, columns, width_, begin, 2.0f, job_.h + begin, k, panel_.get(), width_, 0.0f,
                         space_.get(), width_);
      }
      engine_.multiply(Op::plain, Op::plain, columns, width_, columns, 1.0f, job_.h + begin * (k + 1), k, own, width_,
                       begin > 0 ? 1.0f : 0.0f, space_.get(), width_);
      engine_.add_dots(1.0, own, space_.get(), columns, width_, output_.get());
    }
  }
  void add_tokens() {
    for (std::int64_t first = 0; first < job_.tokens; first += kTile) {
      const std::int64_t tokens = std::min(kTile, job_.tokens - first);
      engine_.multiply(Op::plain, Op::plain, tokens, width_, job_.matrix.k, 1.0f, job_.x.data + first * job_.x.ld, job_.x.ld, panel_.get(),
                       width_, 0.0f, space_.get(), width_);
      engine_.add_dots(1.0, space_.get(), space_.get(), tokens, width_, output_.get());
    }
  }

  const Job& job_;
  Engine& engine_;
  std::int64_t rows_, width_;
  Held<float> panel_, space_;
  Held<double> weight_, output_;
};

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

Result<std::vector<Squares>> squares_of(Engine& engine, const Matrix& matrix, const std::vector<const Form*>& forms, const float* h,
                                        const Samples& samples) {
  Job job = {engine, matrix, forms, h, {}, samples.x == nullptr ? 0 : samples.tokens};
  Held<float> converted;
  if (h == nullptr && job.tokens > 0) {
    converted = Held<float>(engine, engine.needs_space(samples.x_type) ? job.tokens * matrix.k : 0);
    job.x = engine.float_rows({samples.x, samples.x_type, job.tokens, matrix.k, samples.ld}, converted.get());
  }
  std::vector<Squares> all(forms.size() + 1);
  for (Squares& squares : all) {
    squares.weight.resize(static_cast<std::size_t>(matrix.n));
    if (job.outputs()) squares.output.resize(static_cast<std::size_t>(matrix.n));
  }
  const auto bytes = static_cast<std::int64_t>(all.size() * sizeof(float)) * matrix.k;
  const std::int64_t rows_at_once = engine.rows_at_once(matrix.n, bytes);
  const Status done = engine.run(ceil_div(matrix.n, rows_at_once), [&](std::int64_t task) -> Status {
    const std::int64_t first = task * rows_at_once, rows = std::min(rows_at_once, round_up(matrix.n - first, kLanes));
    Panel panel(job, first, rows);
    panel.run();
    panel.take(first, std::min(rows, matrix.n - first), all);
    return {};
  });
  if (!done.ok()) return done;
  return all;
}

}  // namespace billfish::quantize
