// SPDX-License-Identifier: Apache-2.0
// The CPU's linear algebra: products in one thread each, whole matrices tile by tile by all of them. cpu_engine_panels.cpp has the rest.
#include "quantize/cpu_engine.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "core/integers.hpp"
#include "quantize/hessian.hpp"
#include "quantize/panel.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kTile = 256;
constexpr std::int64_t kRows = 16;  // of a matrix that a task goes through element by element
constexpr std::align_val_t kAlignment{64};

LinearAlgebra::Op op(Engine::Op given) { return given == Engine::Op::plain ? LinearAlgebra::Op::plain : LinearAlgebra::Op::transposed; }

// Tiles of the lower triangle, row by row: t = row * (row + 1) / 2 + column.
struct Tile {
  std::int64_t row, column;
};
Tile lower_tile(std::int64_t t) {
  std::int64_t row = 0;
  while ((row + 1) * (row + 2) / 2 <= t) ++row;
  return {row, t - row * (row + 1) / 2};
}

}  // namespace

CpuEngine::CpuEngine(const Parallel& parallel) : parallel_(parallel), kernels_(best_lane_kernels()) {
  const Result<const LinearAlgebra*> found = LinearAlgebra::get();
  missing_ = found.status();
  if (!found.ok()) return;
  algebra_ = *found;
  alone_.emplace(*algebra_);
}

Status CpuEngine::run(std::int64_t tasks, const std::function<Status(std::int64_t)>& task) { return run_all(parallel_, tasks, task); }

void* CpuEngine::allocate(std::size_t bytes) { return ::operator new(bytes, kAlignment); }
void CpuEngine::release(void* memory) { ::operator delete(memory, kAlignment); }
void CpuEngine::upload(void* to, const void* host, std::size_t bytes) { std::memcpy(to, host, bytes); }
void CpuEngine::download(void* host, const void* from, std::size_t bytes) { std::memcpy(host, from, bytes); }
void CpuEngine::copy_rows(void* to, std::size_t ld_to, const void* from, std::size_t ld_from, std::size_t bytes, std::int64_t rows) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto r = static_cast<std::size_t>(row);
    std::memcpy(static_cast<char*>(to) + r * ld_to, static_cast<const char*>(from) + r * ld_from, bytes);
  }
}
void CpuEngine::fill_zero(void* at, std::size_t bytes) { std::memset(at, 0, bytes); }

void CpuEngine::multiply(Op op_a, Op op_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                         const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) {
  algebra_->multiply(op(op_a), op(op_b), m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
void CpuEngine::solve_unit_upper_transposed(std::int64_t n, std::int64_t m, const float* u, std::int64_t ldu, float* b, std::int64_t ldb) {
  algebra_->solve_unit_upper_transposed(n, m, u, ldu, b, ldb);
}
void CpuEngine::add(std::int64_t count, float alpha, const float* x, float* y) {
  for (std::int64_t i = 0; i < count; ++i) y[i] += alpha * x[i];
}

void CpuEngine::build(const BuildJob& job) {
  const std::int64_t k = job.k;
  const auto added = static_cast<float>(job.damping);
  parallel_.run(ceil_div(k, kRows), [&](std::int64_t task) {
    for (std::int64_t r = task * kRows; r < std::min(k, (task + 1) * kRows); ++r) {
      const std::int64_t column = job.order[k - 1 - r];
      const float* const source = job.h + column * k;
      float* const target = job.a + r * k;
      const bool dead = job.dead[column] != 0;
      for (std::int64_t s = 0; s < r; ++s) {
        const std::int64_t other = job.order[k - 1 - s];
        target[s] = dead || job.dead[other] != 0 ? 0.0f : static_cast<float>(source[other] * job.down);
      }
      target[r] = (dead ? 1.0f : static_cast<float>(source[column] * job.down)) + added;
    }
  });
}

bool CpuEngine::factor_lower(std::int64_t k, float* a) {
  using Algebra = LinearAlgebra::Op;
  const std::int64_t tiles = ceil_div(k, kTile);
  const auto size = [k](std::int64_t tile) { return std::min(kTile, k - tile * kTile); };
  const auto at = [a, k](std::int64_t row, std::int64_t column) { return a + row * kTile * k + column * kTile; };
  for (std::int64_t step = 0; step < tiles; ++step) {
    if (algebra_->factor_lower(size(step), at(step, step), k) != 0) return false;
    const std::int64_t below = tiles - step - 1;
    parallel_.run(below, [&](std::int64_t i) {
      algebra_->solve_lower_transposed(size(step + 1 + i), size(step), at(step, step), k, at(step + 1 + i, step), k);
    });
    parallel_.run(below * (below + 1) / 2, [&](std::int64_t task) {
      const std::int64_t i = step + 1 + lower_tile(task).row, j = step + 1 + lower_tile(task).column;
      if (i == j) {
        algebra_->multiply_by_own_transpose(Algebra::plain, size(i), size(step), -1.0f, at(i, step), k, 1.0f, at(i, i), k);
      } else {
        algebra_->multiply(Algebra::plain, Algebra::transposed, size(i), size(j), size(step), -1.0f, at(i, step), k, at(j, step), k, 1.0f,
                           at(i, j), k);
      }
    });
  }
  return true;
}

void CpuEngine::turn(std::int64_t k, float* a, float* pivots) {
  constexpr std::int64_t kStretch = 1 << 16;
  const std::int64_t count = k * k, half = count / 2;
  parallel_.run(ceil_div(half, kStretch), [&](std::int64_t task) {
    for (std::int64_t i = task * kStretch; i < std::min(half, (task + 1) * kStretch); ++i) std::swap(a[i], a[count - 1 - i]);
  });
  std::vector<float> inverse(static_cast<std::size_t>(k));
  for (std::int64_t i = 0; i < k; ++i) {
    const float root = a[i * k + i];
    pivots[i] = root * root;
    inverse[static_cast<std::size_t>(i)] = 1.0f / root;
  }
  parallel_.run(ceil_div(k, kRows), [&](std::int64_t task) {
    for (std::int64_t row = task * kRows; row < std::min(k, (task + 1) * kRows); ++row) {
      for (std::int64_t column = row + 1; column < k; ++column) a[row * k + column] *= inverse[static_cast<std::size_t>(column)];
    }
  });
}

FloatRows CpuEngine::float_rows(const TokenBlock& block, float* space) {
  if (block.type == ElementType::f32) return {static_cast<const float*>(block.x), block.ld};
  widen_rows(block, space, parallel_);
  return {space, block.k};
}

void CpuEngine::add_moments(const FloatRows& x, std::int64_t tokens, std::int64_t k, float keep, float factor, float* h) {
  using Algebra = LinearAlgebra::Op;
  const std::int64_t tiles = ceil_div(k, kTile);
  parallel_.run(tiles * (tiles + 1) / 2, [&](std::int64_t t) {
    const std::int64_t row = lower_tile(t).row * kTile, column = lower_tile(t).column * kTile;
    const std::int64_t rows = std::min(kTile, k - row), columns = std::min(kTile, k - column);
    float* const target = h + row * k + column;
    if (keep == 0.0f) {  // what is there may be anything
      for (std::int64_t i = 0; i < rows; ++i) std::fill(target + i * k, target + i * k + columns, 0.0f);
    }
    if (row == column) {
      algebra_->multiply_by_own_transpose(Algebra::transposed, rows, tokens, factor, x.data + row, x.ld, keep, target, k);
    } else {
      algebra_->multiply(Algebra::transposed, Algebra::plain, rows, columns, tokens, factor, x.data + row, x.ld, x.data + column, x.ld,
                         keep, target, k);
    }
  });
}

void CpuEngine::mirror(std::int64_t k, float* h) {
  const std::int64_t tiles = ceil_div(k, kTile);
  parallel_.run(tiles * (tiles + 1) / 2, [&](std::int64_t t) {
    const std::int64_t row = lower_tile(t).row * kTile, column = lower_tile(t).column * kTile;
    for (std::int64_t i = row; i < std::min(k, row + kTile); ++i) {
      const std::int64_t end = std::min({k, column + kTile, i});
      for (std::int64_t j = column; j < end; ++j) h[j * k + i] = h[i * k + j];
    }
  });
}

void CpuEngine::diagonal(std::int64_t k, const float* h, float* to) {
  for (std::int64_t i = 0; i < k; ++i) to[i] = h[i * k + i];
}

}  // namespace billfish::quantize
