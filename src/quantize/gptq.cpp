// SPDX-License-Identifier: Apache-2.0
// See gptq.hpp, and factor.hpp for the algebra. Rows of [n,k] do not know of each other: a task sweeps some of them through all columns.
//
//   outer block   128 columns (on a device more), or a group if that is wider: one product brings the errors of all columns before it
//   inner block   a group, or 128 columns of a wider one: a small product brings those of the outer block's earlier columns
//   column        feed_back (engine.hpp) brings the rest, rounds, and leaves its error
//
// The scales of a group are chosen when its first column comes, for the weights as the earlier errors would have them: the point where the
// whole group would cost nothing. Targets know nothing of errors within their own group; undoing that is a small triangular solve.
#include "quantize/gptq.hpp"

#include <algorithm>
#include <numeric>

#include "quantize/factor.hpp"
#include "quantize/linear_algebra.hpp"
#include "quantize/refine.hpp"
#include "quantize/trace.hpp"

namespace billfish::quantize {
namespace {

struct Block {
  std::int64_t begin, end;  // places
};

// In which order columns come, and where their groups begin in it.
struct Plan {
  std::vector<std::int32_t> order;         // place -> column
  std::vector<std::int32_t> group_of;      // place -> group
  std::vector<std::vector<Block>> blocks;  // outer blocks, as their inner ones
  bool fixed = false;                      // scales are chosen beforehand, for the weights as they came
};

// most: columns of an outer block.
void cut(Plan& plan, std::int64_t k, const std::vector<Block>& groups, std::int64_t most) {
  std::int64_t width = most;  // of the outer block being filled; full: a new one begins
  for (const Block& group : groups) {
    const std::int64_t columns = group.end - group.begin;
    if (width + columns > most) {
      plan.blocks.emplace_back();
      width = 0;
    }
    width += columns;
    for (std::int64_t at = group.begin; at < group.end; at += kMostWidth) {
      plan.blocks.back().push_back({at, std::min(at + kMostWidth, group.end)});
    }
  }
  plan.group_of.resize(static_cast<std::size_t>(k));
}

Plan plan_of(const Options& options, const std::vector<float>& diagonal, std::int64_t most) {
  const auto k = static_cast<std::int64_t>(diagonal.size());
  Plan plan;
  plan.fixed = options.act_order == ActOrder::fixed;
  plan.order.resize(static_cast<std::size_t>(k));
  std::iota(plan.order.begin(), plan.order.end(), 0);
  const auto moment = [&](std::int64_t column) { return diagonal[static_cast<std::size_t>(column)]; };
  const auto by_moment = [&](std::int32_t a, std::int32_t b) { return moment(a) > moment(b); };
  std::vector<Block> groups;
  if (plan.fixed) {
    std::stable_sort(plan.order.begin(), plan.order.end(), by_moment);
    for (std::int64_t at = 0; at < k; at += kMostWidth) groups.push_back({at, std::min(at + kMostWidth, k)});
  } else {
    std::vector<std::int32_t> turn(static_cast<std::size_t>(ceil_div(k, options.group)));
    std::iota(turn.begin(), turn.end(), 0);
    if (options.act_order == ActOrder::by_group) {
      std::vector<double> sums(turn.size(), 0.0);
      for (std::int64_t column = 0; column < k; ++column) sums[static_cast<std::size_t>(column / options.group)] += moment(column);
      std::stable_sort(turn.begin(), turn.end(), [&](std::int32_t a, std::int32_t b) {
        return sums[static_cast<std::size_t>(a)] > sums[static_cast<std::size_t>(b)];
      });
    }
    std::int64_t place = 0;
    for (const std::int32_t group : turn) {
      const std::int64_t begin = group * options.group, columns = std::min(options.group, k - begin);
      const auto first = plan.order.begin() + place;
      std::iota(first, first + columns, static_cast<std::int32_t>(begin));
      if (options.act_order == ActOrder::by_group) std::stable_sort(first, first + columns, by_moment);
      groups.push_back({place, place + columns});
      place += columns;
    }
  }
  cut(plan, k, groups, most);
  for (std::int64_t place = 0; place < k; ++place) {
    const auto at = static_cast<std::size_t>(place);
    plan.group_of[at] = static_cast<std::int32_t>(plan.order[at] / options.group);
  }
  return plan;
}

// The plan and the factor as an engine needs them, for all tasks.
struct Shared {
  const Options& options;
  const Matrix& matrix;
  const float* h;
  const Plan& plan;
  const Factor& factor;
  Held<std::int32_t> order, group_of;  // [k] by place
  Held<float> importance;              // [k] by column; of fixed plans

  Shared(Engine& engine, const Options& chosen, const Matrix& source, const float* moments, const Plan& made, const Factor& factored,
         Held<std::int32_t> places, const std::vector<float>& by_column)
      : options(chosen),
        matrix(source),
        h(moments),
        plan(made),
        factor(factored),
        order(std::move(places)),
        group_of(Held<std::int32_t>::of(engine, made.group_of.data(), source.k)),
        importance(Held<float>::of(engine, by_column.data(), source.k)) {}
};

// One way to quantise the rows of a task.
struct Attempt {
  Attempt(Engine& engine, const Matrix& matrix, std::int64_t rows)
      : codes(engine, matrix.k * rows),
        grids(engine, matrix.groups() * (rows / kLanes)),
        clipped(engine, matrix.groups() * rows),
        cost(engine, rows) {
    engine.fill_zero(cost.get(), static_cast<std::size_t>(rows) * sizeof(double));
  }
  Held<std::uint8_t> codes;    // [k, rows]
  Held<Grid> grids;            // [groups, parts]
  Held<std::uint8_t> clipped;  // [groups, rows]
  Held<double> cost;           // [rows]: what they lose in outputs, in units of H's mean; damping does not count
};

class Sweep {
 public:
  // Rows [first, first + rows), those behind the last row of the matrix included.
  Sweep(Engine& engine, const Shared& shared, std::int64_t first, std::int64_t rows)
      : engine_(engine),
        shared_(shared),
        matrix_(shared.matrix),
        plan_(shared.plan),
        factor_(shared.factor),
        scheme_(shared.matrix.scheme),
        first_(first),
        rows_(rows),
        parts_(rows / kLanes),
        errors_(engine, matrix_.k * rows) {
    std::int64_t widest = plan_.fixed ? std::max<std::int64_t>(matrix_.group, kMostWidth) : 1;
    for (const std::vector<Block>& outer : plan_.blocks) widest = std::max(widest, outer.back().end - outer.front().begin);
    original_ = Held<float>(engine, widest * rows);
    targets_ = Held<float>(engine, widest * rows);
    ideal_ = Held<float>(engine, widest * rows);
  }

  void run(bool clip, Attempt& attempt) {
    scheme_.clip = clip;
    if (plan_.fixed) choose_beforehand(attempt);
    for (const std::vector<Block>& outer : plan_.blocks) {
      const std::int64_t begin = outer.front().begin, width = outer.back().end - begin;
      engine_.gather({matrix_.weights, matrix_.n, matrix_.ld, first_, rows_, shared_.order.get(), factor_.dead.get(), begin, width,
                      1.0f / scheme_.unit, original_.get(), rows_});
      copy(targets_.get(), original_.get(), width * rows_);
      add_errors(0, begin, begin, width, targets_.get());
      for (const Block& inner : outer) {
        add_errors(begin, inner.begin, inner.begin, inner.end - inner.begin, targets_.get() + (inner.begin - begin) * rows_);
        if (!plan_.fixed && opens_group(inner, begin)) choose_now(begin, inner.begin, group_end(outer, inner), attempt);
        feed_back(begin, inner, attempt);
      }
    }
    if (!std::is_sorted(plan_.order.begin(), plan_.order.end())) {
      restore_order(errors_.get(), spare_);
      restore_order(attempt.codes.get(), spare_codes_);
    }
    done(engine_, "sweep");
    refine(engine_, {shared_.h, matrix_.k, matrix_.group, factor_.mean, factor_.damping, shared_.options.rounds, &scheme_, rows_, parts_,
                     errors_.get(), attempt.codes.get(), attempt.grids.get(), attempt.cost.get()});
    // The factor is that of H with damping: its part of the cost is no loss.
    engine_.add_dots(-factor_.damping, errors_.get(), errors_.get(), matrix_.k, rows_, attempt.cost.get());
    done(engine_, "refinement");
  }

 private:
  using Op = Engine::Op;

  void copy(float* to, const float* from, std::int64_t count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float);
    engine_.copy_rows(to, bytes, from, bytes, bytes, 1);
  }

  // rows [k by place, rows] become rows by column of W.
  template <class T>
  void restore_order(T* rows, Held<T>& spare) {
    const std::size_t bytes = static_cast<std::size_t>(rows_) * sizeof(T), all = static_cast<std::size_t>(matrix_.k) * bytes;
    if (spare.get() == nullptr) spare = Held<T>(engine_, matrix_.k * rows_);
    engine_.copy_rows(spare.get(), all, rows, all, all, 1);
    engine_.scatter_rows(rows, spare.get(), bytes, shared_.order.get(), matrix_.k);
  }

  std::int32_t group_at(std::int64_t place) const { return plan_.group_of[static_cast<std::size_t>(place)]; }
  bool opens_group(const Block& inner, std::int64_t outer_begin) const {
    return inner.begin == outer_begin || group_at(inner.begin) != group_at(inner.begin - 1);
  }
  std::int64_t group_end(const std::vector<Block>& outer, const Block& inner) const {
    std::int64_t end = inner.end;
    while (end < outer.back().end && group_at(end) == group_at(inner.begin)) ++end;
    return end;
  }

  // to [width, rows], the targets of the columns from `column` on, += what the errors of columns [begin, end) ask of them.
  void add_errors(std::int64_t begin, std::int64_t end, std::int64_t column, std::int64_t width, float* to) const {
    if (begin == end) return;
    engine_.multiply(Op::transposed, Op::plain, width, rows_, end - begin, 1.0f, factor_.links.get() + begin * matrix_.k + column,
                     matrix_.k, errors_.get() + begin * rows_, rows_, 1.0f, to, rows_);
  }

  void choose(const float* panel, std::int64_t columns, const float* importance, std::int64_t group, Attempt& attempt) const {
    engine_.choose({&scheme_, panel, rows_, rows_, columns, columns, importance, nullptr, 0, attempt.grids.get() + group * parts_, parts_,
                    attempt.clipped.get() + group * rows_, rows_});
  }

  // The group [begin, end) of places, which lies in the outer block from `outer` on.
  void choose_now(std::int64_t outer, std::int64_t begin, std::int64_t end, Attempt& attempt) {
    const std::int64_t columns = end - begin, at = (begin - outer) * rows_;
    const float* ideal = original_.get() + at;
    if (begin > 0) {
      copy(ideal_.get(), targets_.get() + at, columns * rows_);
      engine_.add(columns * rows_, -1.0f, ideal, ideal_.get());
      engine_.solve_unit_upper_transposed(columns, rows_, factor_.links.get() + begin * (matrix_.k + 1), matrix_.k, ideal_.get(), rows_);
      engine_.add(columns * rows_, 1.0f, ideal, ideal_.get());
      ideal = ideal_.get();
    }
    choose(ideal, columns, factor_.pivots.get() + begin, group_at(begin), attempt);
  }

  void choose_beforehand(Attempt& attempt) {
    for (std::int64_t begin = 0; begin < matrix_.k; begin += matrix_.group) {
      const std::int64_t columns = std::min(matrix_.group, matrix_.k - begin);
      engine_.gather({matrix_.weights, matrix_.n, matrix_.ld, first_, rows_, nullptr, nullptr, begin, columns, 1.0f / scheme_.unit,
                      original_.get(), rows_});
      choose(original_.get(), columns, shared_.importance.get() + begin, begin / matrix_.group, attempt);
    }
  }

  void feed_back(std::int64_t outer, const Block& inner, Attempt& attempt) {
    const std::int64_t in_panel = (inner.begin - outer) * rows_, in_all = inner.begin * rows_;
    engine_.feed_back({&scheme_, rows_, inner.end - inner.begin, targets_.get() + in_panel, original_.get() + in_panel,
                       factor_.links.get() + inner.begin * (matrix_.k + 1), matrix_.k, factor_.pivots.get() + inner.begin,
                       attempt.grids.get(), parts_, shared_.group_of.get() + inner.begin, errors_.get() + in_all,
                       attempt.codes.get() + in_all, attempt.cost.get()});
  }

  Engine& engine_;
  const Shared& shared_;
  const Matrix& matrix_;
  const Plan& plan_;
  const Factor& factor_;
  Scheme scheme_;
  std::int64_t first_, rows_, parts_;
  Held<float> errors_;                      // [k by place, rows]: weights - what the codes mean
  Held<float> original_, targets_, ideal_;  // [outer block, rows]
  Held<float> spare_;                       // [k, rows], if columns are not taken as they lie
  Held<std::uint8_t> spare_codes_;
};

// Row by row the better of two attempts: clipping for its own sake never costs anything.
void take_better(Engine& engine, const Matrix& matrix, std::int64_t rows, const Attempt& other, Attempt& attempt,
                 std::vector<std::uint8_t>& marks) {
  std::vector<double> cost(static_cast<std::size_t>(rows)), other_cost(cost.size());
  attempt.cost.to_host(engine, cost.data(), rows);
  other.cost.to_host(engine, other_cost.data(), rows);
  for (std::size_t row = 0; row < cost.size(); ++row) marks[row] = other_cost[row] < cost[row] ? 1 : 0;
  const Held<std::uint8_t> held = Held<std::uint8_t>::of(engine, marks.data(), rows);
  engine.take_rows({held.get(), rows, matrix.k, matrix.groups(), rows / kLanes, rows, other.codes.get(), other.grids.get(),
                    attempt.codes.get(), attempt.grids.get()});
}

// Of the rows that kept what the search for smaller ranges found, the first `there` of them: how many groups have one.
std::int64_t count_clipped(Engine& engine, const Attempt& smaller, std::int64_t groups, std::int64_t rows, std::int64_t there,
                           const std::vector<std::uint8_t>& marks) {
  std::vector<std::uint8_t> clipped(static_cast<std::size_t>(groups * rows));
  smaller.clipped.to_host(engine, clipped.data(), groups * rows);
  std::int64_t count = 0;
  for (std::int64_t group = 0; group < groups; ++group) {
    for (std::int64_t row = 0; row < there; ++row) {
      count += marks[static_cast<std::size_t>(row)] & clipped[static_cast<std::size_t>(group * rows + row)];
    }
  }
  return count;
}

}  // namespace

Status gptq(Engine& engine, const Options& options, const Matrix& matrix, const float* h, const std::vector<float>& diagonal, Form& form,
            Quantized& out) {
  const std::int64_t n = matrix.n, k = matrix.k, groups = matrix.groups(), all_parts = matrix.parts();
  if (!LinearAlgebra::fits(k, k)) return unsupported("k is " + std::to_string(k) + "; linear algebra counts in 31 bits");
  const Plan plan = plan_of(options, diagonal, engine.columns_at_once());
  Held<std::int32_t> order = Held<std::int32_t>::of(engine, plan.order.data(), k);
  const Result<Factor> factored = factor(engine, h, diagonal, order.get(), options.damping);
  if (!factored.ok()) return factored.status();
  done(engine, "factor");
  out.damping = factored->damping;
  out.dead_columns = factored->dead_columns;
  std::vector<float> importance(diagonal.size());
  for (std::size_t place = 0; place < importance.size(); ++place) {
    importance[static_cast<std::size_t>(plan.order[place])] = factored->pivots_here[place];
  }
  const Shared shared(engine, options, matrix, h, plan, *factored, std::move(order), importance);

  constexpr std::int64_t kBytes = 2 * sizeof(float) + 2;  // a weight's error and code, and where columns are sorted the same again
  const std::int64_t rows_at_once = engine.rows_at_once(n, k * kBytes), tasks = ceil_div(n, rows_at_once);
  std::vector<std::int64_t> clipped(static_cast<std::size_t>(tasks), 0);
  const Status swept = engine.run(tasks, [&](std::int64_t task) -> Status {
    const std::int64_t first = task * rows_at_once, rows = std::min(rows_at_once, round_up(n - first, kLanes));
    const std::int64_t there = std::min(rows, n - first), parts = rows / kLanes;
    Sweep sweep(engine, shared, first, rows);
    Attempt attempt(engine, matrix, rows);
    sweep.run(false, attempt);
    if (options.clip) {
      Attempt smaller(engine, matrix, rows);
      sweep.run(true, smaller);
      std::vector<std::uint8_t> marks(static_cast<std::size_t>(rows));
      take_better(engine, matrix, rows, smaller, attempt, marks);
      clipped[static_cast<std::size_t>(task)] = count_clipped(engine, smaller, groups, rows, there, marks);
    }
    const auto bytes = [](std::int64_t count) { return static_cast<std::size_t>(count); };
    engine.copy_rows(form.codes.get() + first, bytes(n), attempt.codes.get(), bytes(rows), bytes(there), k);
    engine.copy_rows(form.grids.get() + first / kLanes, bytes(all_parts) * sizeof(Grid), attempt.grids.get(), bytes(parts) * sizeof(Grid),
                     bytes(std::min(parts, all_parts - first / kLanes)) * sizeof(Grid), groups);
    return {};
  });
  out.clipped_groups = std::accumulate(clipped.begin(), clipped.end(), std::int64_t{0});
  return swept;
}

}  // namespace billfish::quantize
