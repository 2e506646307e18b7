// SPDX-License-Identifier: Apache-2.0
// See gptq.hpp, and factor.hpp for the algebra. Rows of [n,k] do not know of each other: a task sweeps 128 of them through all columns.
//
//   outer block   128 columns, or a group if that is wider: one product brings the errors of all columns before it
//   inner block   a group, or 128 columns of a wider one: a small product brings those of the outer block's earlier columns
//   column        feed_back (lanes.hpp) brings the rest, rounds, and leaves its error
//
// The scales of a group are chosen when its first column comes, for the weights as the earlier errors would have them: the point where the
// whole group would cost nothing. Targets know nothing of errors within their own group; undoing that is a small triangular solve.
#include "quantize/gptq.hpp"

#include <cstring>
#include <numeric>

#include "quantize/factor.hpp"
#include "quantize/grid.hpp"
#include "quantize/linear_algebra.hpp"
#include "quantize/nearest.hpp"
#include "quantize/panel.hpp"
#include "quantize/refine.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kRows = kRefineRows;
constexpr std::int64_t kParts = kRows / kLanes;

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

void cut(Plan& plan, std::int64_t k, const std::vector<Block>& groups) {
  std::int64_t width = kMostWidth;  // of the outer block being filled; full: a new one begins
  for (const Block& group : groups) {
    const std::int64_t columns = group.end - group.begin;
    if (width + columns > kMostWidth) {
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

Plan plan_of(const Options& options, const float* h, std::int64_t k) {
  Plan plan;
  plan.fixed = options.act_order == ActOrder::fixed;
  plan.order.resize(static_cast<std::size_t>(k));
  std::iota(plan.order.begin(), plan.order.end(), 0);
  const auto moment = [&](std::int64_t column) { return h[column * k + column]; };
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
  cut(plan, k, groups);
  for (std::int64_t place = 0; place < k; ++place) {
    const auto at = static_cast<std::size_t>(place);
    plan.group_of[at] = static_cast<std::int32_t>(plan.order[at] / options.group);
  }
  return plan;
}

// One way to quantise the rows of a task.
struct Attempt {
  Attempt(std::int64_t k, std::int64_t groups)
      : codes(k * kRows), grids(groups * kParts), clipped(static_cast<std::size_t>(groups * kRows)) {}
  Buffer<std::uint8_t> codes;         // [k, kRows]
  Buffer<Grid> grids;                 // [groups, kParts]
  std::vector<std::uint8_t> clipped;  // [groups, kRows]
  double cost[kRows] = {};            // what the rows lose in outputs, in units of H's mean; damping does not count

  Grid& grid(std::int64_t group, std::int64_t part) const { return grids[group * kParts + part]; }
};

class Sweep {
 public:
  Sweep(const Options& options, const Weights& weights, const Plan& plan, const Factor& factor, const LinearAlgebra& algebra,
        const float* h, const Scheme& scheme, std::int64_t first)
      : options_(options),
        weights_(weights),
        plan_(plan),
        factor_(factor),
        algebra_(algebra),
        h_(h),
        scheme_(scheme),
        first_(first),
        k_(weights.k),
        errors_(k_ * kRows) {
    std::int64_t widest = plan.fixed ? std::max<std::int64_t>(options.group, kMostWidth) : 1;
    for (const std::vector<Block>& outer : plan.blocks) widest = std::max(widest, outer.back().end - outer.front().begin);
    original_ = Buffer<float>(widest * kRows);
    targets_ = Buffer<float>(widest * kRows);
    ideal_ = Buffer<float>(widest * kRows);
    links_ = Buffer<float>(kMostWidth * kMostWidth);
  }

  void run(bool clip, Attempt& attempt) {
    scheme_.clip = clip;
    if (plan_.fixed) choose_beforehand(attempt);
    for (const std::vector<Block>& outer : plan_.blocks) {
      const std::int64_t begin = outer.front().begin, width = outer.back().end - begin;
      gather(begin, width);
      std::memcpy(targets_.get(), original_.get(), static_cast<std::size_t>(width * kRows) * sizeof(float));
      add_errors(0, begin, begin, width, targets_.get());
      for (const Block& inner : outer) {
        add_errors(begin, inner.begin, inner.begin, inner.end - inner.begin, targets_.get() + (inner.begin - begin) * kRows);
        if (!plan_.fixed && opens_group(inner, begin)) choose_now(begin, inner.begin, group_end(outer, inner), attempt);
        feed_back(begin, inner, attempt);
      }
    }
    restore_order(errors_.get(), spare_);
    restore_order(attempt.codes.get(), spare_codes_);
    refine({&algebra_, h_, k_, options_.group, factor_.mean, factor_.damping, options_.rounds, &scheme_},
           {errors_.get(), attempt.codes.get(), attempt.grids.get(), attempt.cost});
    // The factor is that of H with damping: its part of the cost is no loss.
    float squares[kLanes];
    for (std::int64_t part = 0; part < kParts; ++part) {
      const float* const lost = errors_.get() + part * kLanes;
      scheme_.kernels->dot(lost, lost, kRows, k_, squares);
      for (int lane = 0; lane < kLanes; ++lane) attempt.cost[part * kLanes + lane] -= factor_.damping * static_cast<double>(squares[lane]);
    }
  }

 private:
  // rows [k by place, kRows] become rows by column of W.
  template <class T>
  void restore_order(T* rows, Buffer<T>& spare) {
    if (std::is_sorted(plan_.order.begin(), plan_.order.end())) return;
    if (spare.get() == nullptr) spare = Buffer<T>(k_ * kRows);
    std::memcpy(spare.get(), rows, static_cast<std::size_t>(k_ * kRows) * sizeof(T));
    for (std::int64_t place = 0; place < k_; ++place) {
      const std::int64_t column = plan_.order[static_cast<std::size_t>(place)];
      std::memcpy(rows + column * kRows, spare.get() + place * kRows, kRows * sizeof(T));
    }
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

  void gather(std::int64_t begin, std::int64_t width) {
    gather_panel(weights_, first_, kRows, plan_.order.data(), begin, width, 1.0f / scheme_.unit, original_.get(), kRows);
    for (std::int64_t i = 0; i < width; ++i) {
      if (factor_.dead[static_cast<std::size_t>(plan_.order[static_cast<std::size_t>(begin + i)])] == 0) continue;
      std::fill(original_.get() + i * kRows, original_.get() + (i + 1) * kRows, 0.0f);
    }
  }

  // to [width, kRows], the targets of the columns from `column` on, += what the errors of columns [begin, end) ask of them.
  void add_errors(std::int64_t begin, std::int64_t end, std::int64_t column, std::int64_t width, float* to) const {
    if (begin == end) return;
    algebra_.multiply(LinearAlgebra::Op::transposed, LinearAlgebra::Op::plain, width, kRows, end - begin, 1.0f,
                      factor_.links.get() + begin * k_ + column, k_, errors_.get() + begin * kRows, kRows, 1.0f, to, kRows);
  }

  void choose(const float* panel, std::int64_t columns, const float* importance, std::int32_t group, Attempt& attempt) const {
    bool smaller[kLanes];
    for (std::int64_t part = 0; part < kParts; ++part) {
      choose_grid(scheme_, panel + part * kLanes, kRows, columns, {importance}, attempt.grid(group, part), smaller);
      std::uint8_t* const clipped = attempt.clipped.data() + group * kRows + part * kLanes;
      for (int lane = 0; lane < kLanes; ++lane) clipped[lane] = smaller[lane] ? 1 : 0;
    }
  }

  // The group [begin, end) of places, which lies in the outer block from `outer` on.
  void choose_now(std::int64_t outer, std::int64_t begin, std::int64_t end, Attempt& attempt) {
    const std::int64_t columns = end - begin;
    const float* ideal = original_.get() + (begin - outer) * kRows;
    if (begin > 0) {
      const float* const targets = targets_.get() + (begin - outer) * kRows;
      for (std::int64_t i = 0; i < columns * kRows; ++i) ideal_[i] = targets[i] - ideal[i];
      algebra_.solve_unit_upper_transposed(columns, kRows, factor_.links.get() + begin * k_ + begin, k_, ideal_.get(), kRows);
      for (std::int64_t i = 0; i < columns * kRows; ++i) ideal_[i] += ideal[i];
      ideal = ideal_.get();
    }
    choose(ideal, columns, factor_.pivots.data() + begin, group_at(begin), attempt);
  }

  void choose_beforehand(Attempt& attempt) {
    std::vector<float> importance(static_cast<std::size_t>(k_));  // by column
    for (std::int64_t place = 0; place < k_; ++place) {
      const auto at = static_cast<std::size_t>(place);
      importance[static_cast<std::size_t>(plan_.order[at])] = factor_.pivots[at];
    }
    for (std::int64_t begin = 0; begin < k_; begin += options_.group) {
      const std::int64_t columns = std::min(options_.group, k_ - begin);
      gather_panel(weights_, first_, kRows, nullptr, begin, columns, 1.0f / scheme_.unit, original_.get(), kRows);
      choose(original_.get(), columns, importance.data() + begin, static_cast<std::int32_t>(begin / options_.group), attempt);
    }
  }

  void feed_back(std::int64_t outer, const Block& inner, Attempt& attempt) {
    const auto width = static_cast<int>(inner.end - inner.begin);
    for (int j = 0; j < width; ++j) {
      const float* const row = factor_.links.get() + (inner.begin + j) * k_ + inner.begin;
      for (int i = j + 1; i < width; ++i) links_[i * kMostWidth + j] = row[i];
    }
    const Grid* grids[kMostWidth];
    float cost[kLanes];
    for (std::int64_t part = 0; part < kParts; ++part) {
      for (int i = 0; i < width; ++i) grids[i] = &attempt.grid(group_at(inner.begin + i), part);
      std::fill(cost, cost + kLanes, 0.0f);
      const std::int64_t in_panel = (inner.begin - outer) * kRows + part * kLanes, in_all = inner.begin * kRows + part * kLanes;
      scheme_.kernels->feed_back({targets_.get() + in_panel, original_.get() + in_panel, kRows, width, links_.get(),
                                  factor_.pivots.data() + inner.begin, grids, scheme_.largest_code(), errors_.get() + in_all,
                                  attempt.codes.get() + in_all, kRows, cost});
      for (int lane = 0; lane < kLanes; ++lane) attempt.cost[part * kLanes + lane] += static_cast<double>(cost[lane]);
    }
  }

  const Options& options_;
  const Weights& weights_;
  const Plan& plan_;
  const Factor& factor_;
  const LinearAlgebra& algebra_;
  const float* h_;
  Scheme scheme_;
  std::int64_t first_, k_;
  Buffer<float> errors_;                      // [k by place, kRows]: weights - what the codes mean
  Buffer<float> original_, targets_, ideal_;  // [outer block, kRows]
  Buffer<float> links_;                       // [kMostWidth, kMostWidth]
  Buffer<float> spare_;                       // [k, kRows], if columns are not taken as they lie
  Buffer<std::uint8_t> spare_codes_;
};

// Row by row the better of two attempts: clipping for its own sake never costs anything.
void take_better(std::int64_t k, std::int64_t groups, const Attempt& other, Attempt& attempt) {
  for (std::int64_t row = 0; row < kRows; ++row) {
    if (!(other.cost[row] < attempt.cost[row])) continue;
    attempt.cost[row] = other.cost[row];
    for (std::int64_t column = 0; column < k; ++column) attempt.codes[column * kRows + row] = other.codes[column * kRows + row];
    const std::int64_t part = row / kLanes, lane = row % kLanes;
    for (std::int64_t group = 0; group < groups; ++group) {
      attempt.grid(group, part).scale[lane] = other.grid(group, part).scale[lane];
      attempt.grid(group, part).zero[lane] = other.grid(group, part).zero[lane];
      attempt.clipped[static_cast<std::size_t>(group * kRows + row)] = other.clipped[static_cast<std::size_t>(group * kRows + row)];
    }
  }
}

}  // namespace

Status gptq(const Options& options, const Weights& weights, const float* h, float largest, Quantized& out) {
  BILLFISH_RETURN_IF_ERROR(check_scale_range(options, largest));
  const std::int64_t n = weights.n, k = weights.k, groups = ceil_div(k, options.group), tasks = ceil_div(n, kRows);
  const Result<const LinearAlgebra*> algebra = LinearAlgebra::get();
  if (!algebra.ok()) return algebra.status();
  if (!LinearAlgebra::fits(k, k)) return unsupported("k is " + std::to_string(k) + "; linear algebra counts in 31 bits");
  const Plan plan = plan_of(options, h, k);
  const Result<Factor> factored = factor(h, k, plan.order, options.damping, options.parallel);
  if (!factored.ok()) return factored.status();
  out.damping = factored->damping;
  out.dead_columns = factored->dead_columns;
  const Scheme scheme = {options.type, options.scale_type, options.clip, unit_of(largest), &best_lane_kernels()};
  std::vector<std::int64_t> clipped(static_cast<std::size_t>(tasks), 0);
  const LinearAlgebra::OneThread alone(**algebra);
  Status done = run_all(options.parallel, tasks, [&](std::int64_t task) -> Status {
    const std::int64_t first = task * kRows, rows = std::min(kRows, n - first);
    Sweep sweep(options, weights, plan, *factored, **algebra, h, scheme, first);
    Attempt attempt(k, groups);
    sweep.run(false, attempt);
    if (options.clip) {
      Attempt smaller(k, groups);
      sweep.run(true, smaller);
      take_better(k, groups, smaller, attempt);
    }
    for (std::int64_t column = 0; column < k; ++column) {
      std::memcpy(out.codes + column * n + first, attempt.codes.get() + column * kRows, static_cast<std::size_t>(rows));
    }
    for (std::int64_t group = 0; group < groups; ++group) {
      for (std::int64_t row = 0; row < rows; row += kLanes) {
        const int lanes = static_cast<int>(std::min<std::int64_t>(kLanes, rows - row));
        const Grid& grid = attempt.grid(group, row / kLanes);
        BILLFISH_RETURN_IF_ERROR(store_grid(scheme, grid, lanes, n, group, first + row, out.scales, out.zeros));
      }
      for (std::int64_t row = 0; row < rows; ++row) {
        clipped[static_cast<std::size_t>(task)] += attempt.clipped[static_cast<std::size_t>(group * kRows + row)];
      }
    }
    return {};
  });
  out.clipped_groups = std::accumulate(clipped.begin(), clipped.end(), std::int64_t{0});
  return done;
}

}  // namespace billfish::quantize
