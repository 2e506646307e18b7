// SPDX-License-Identifier: Apache-2.0
// See factor.hpp. Read backwards, an upper factor is a lower one: the matrix is built in reverse order, factored as L L^T tile by tile, and
// turned by 180 degrees in place.
#include "quantize/factor.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "quantize/linear_algebra.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kTile = 256;
constexpr double kRaise = 10.0;       // damping that did not suffice grows by this
constexpr double kMostDamping = 1e4;  // beyond it a matrix is not a sum of squares

// The lower triangle of `a`, in reverse order: a[r][s] = H[column(r)][column(s)] / mean, dead columns 1 on the diagonal and 0 elsewhere.
void build(const float* h, const std::vector<std::int32_t>& order, const Factor& factor, double damping, float* a,
           const Parallel& parallel) {
  constexpr std::int64_t kRows = 16;
  const std::int64_t k = factor.k;
  const double down = 1.0 / factor.mean;  // in f64: H may be as small or as large as f32 goes
  const auto added = static_cast<float>(damping);
  parallel.run(ceil_div(k, kRows), [&](std::int64_t task) {
    for (std::int64_t r = task * kRows; r < std::min(k, (task + 1) * kRows); ++r) {
      const std::int64_t column = order[static_cast<std::size_t>(k - 1 - r)];
      const float* const source = h + column * k;
      float* const target = a + r * k;
      const bool dead = factor.dead[static_cast<std::size_t>(column)] != 0;
      for (std::int64_t s = 0; s < r; ++s) {
        const std::int64_t other = order[static_cast<std::size_t>(k - 1 - s)];
        target[s] = dead || factor.dead[static_cast<std::size_t>(other)] != 0 ? 0.0f : static_cast<float>(source[other] * down);
      }
      target[r] = (dead ? 1.0f : static_cast<float>(source[column] * down)) + added;
    }
  });
}

// a = l l^T in the lower triangle; false if a pivot is not positive.
bool factor_tiles(const LinearAlgebra& algebra, float* a, std::int64_t k, const Parallel& parallel) {
  using Op = LinearAlgebra::Op;
  const std::int64_t tiles = ceil_div(k, kTile);
  const auto size = [k](std::int64_t tile) { return std::min(kTile, k - tile * kTile); };
  const auto at = [a, k](std::int64_t row, std::int64_t column) { return a + row * kTile * k + column * kTile; };
  for (std::int64_t step = 0; step < tiles; ++step) {
    if (algebra.factor_lower(size(step), at(step, step), k) != 0) return false;
    const std::int64_t below = tiles - step - 1;
    parallel.run(below, [&](std::int64_t i) {
      algebra.solve_lower_transposed(size(step + 1 + i), size(step), at(step, step), k, at(step + 1 + i, step), k);
    });
    parallel.run(below * (below + 1) / 2, [&](std::int64_t task) {
      std::int64_t row = 0;  // task = row * (row + 1) / 2 + column
      while ((row + 1) * (row + 2) / 2 <= task) ++row;
      const std::int64_t i = step + 1 + row, j = step + 1 + task - row * (row + 1) / 2;
      if (i == j) {
        algebra.multiply_by_own_transpose(Op::plain, size(i), size(step), -1.0f, at(i, step), k, 1.0f, at(i, i), k);
      } else {
        algebra.multiply(Op::plain, Op::transposed, size(i), size(j), size(step), -1.0f, at(i, step), k, at(j, step), k, 1.0f, at(i, j), k);
      }
    });
  }
  return true;
}

// The lower factor, read backwards, becomes the upper one with a unit diagonal; false if a pivot is not a positive number.
bool turn(Factor& factor, const Parallel& parallel) {
  constexpr std::int64_t kRows = 16;
  const std::int64_t k = factor.k, count = k * k, half = count / 2;
  float* const a = factor.links.get();
  constexpr std::int64_t kStretch = 1 << 16;
  parallel.run(ceil_div(half, kStretch), [&](std::int64_t task) {
    for (std::int64_t i = task * kStretch; i < std::min(half, (task + 1) * kStretch); ++i) std::swap(a[i], a[count - 1 - i]);
  });
  std::vector<float> inverse(static_cast<std::size_t>(k));
  bool positive = true;
  for (std::int64_t i = 0; i < k; ++i) {
    const float root = a[i * k + i];
    positive = positive && root > 0.0f && std::isfinite(root);
    factor.pivots[static_cast<std::size_t>(i)] = root * root;
    inverse[static_cast<std::size_t>(i)] = 1.0f / root;
  }
  if (!positive) return false;
  parallel.run(ceil_div(k, kRows), [&](std::int64_t task) {
    for (std::int64_t row = task * kRows; row < std::min(k, (task + 1) * kRows); ++row) {
      for (std::int64_t column = row + 1; column < k; ++column) a[row * k + column] *= inverse[static_cast<std::size_t>(column)];
    }
  });
  return true;
}

}  // namespace

Result<Factor> factor(const float* h, std::int64_t k, const std::vector<std::int32_t>& order, double damping, const Parallel& parallel) {
  const Result<const LinearAlgebra*> algebra = LinearAlgebra::get();
  if (!algebra.ok()) return algebra.status();
  Factor result;
  result.k = k;
  result.links = Buffer<float>(k * k);
  result.pivots.resize(static_cast<std::size_t>(k));
  result.dead.resize(static_cast<std::size_t>(k));
  for (std::int64_t i = 0; i < k; ++i) {
    const float moment = h[i * k + i];
    result.dead[static_cast<std::size_t>(i)] = moment == 0.0f ? 1 : 0;
    result.dead_columns += moment == 0.0f ? 1 : 0;
    result.mean += static_cast<double>(moment);
  }
  result.mean = result.dead_columns < k ? result.mean / static_cast<double>(k - result.dead_columns) : 1.0;
  const LinearAlgebra::OneThread alone(**algebra);
  result.damping = damping;
  do {
    build(h, order, result, result.damping, result.links.get(), parallel);
    if (factor_tiles(**algebra, result.links.get(), k, parallel) && turn(result, parallel)) return result;
    result.damping *= kRaise;
  } while (result.damping <= kMostDamping);
  return bad_input("hessian has no Cholesky factor, even with " + std::to_string(kMostDamping) +
                   " times its mean diagonal added: it is no matrix of second moments");
}

}  // namespace billfish::quantize
