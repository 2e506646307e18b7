// SPDX-License-Identifier: Apache-2.0
// GPTQ in f64 as papers write it: U = the upper Cholesky factor of the inverse of H, each column's error over U_kk sent on to later ones.
// Slow, and independent of src/quantize: no factor of H itself, no targets looked back to, no lanes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "quantize/sample.hpp"

namespace billfish::quantize::test {

using Square = std::vector<double>;  // [k, k]

// a = l l^T
inline Square cholesky(const Square& a, std::int64_t k) {
  Square l(a.size(), 0.0);
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = a[static_cast<std::size_t>(i * k + j)];
      for (std::int64_t m = 0; m < j; ++m) sum -= l[static_cast<std::size_t>(i * k + m)] * l[static_cast<std::size_t>(j * k + m)];
      l[static_cast<std::size_t>(i * k + j)] = i == j ? std::sqrt(sum) : sum / l[static_cast<std::size_t>(j * k + j)];
    }
  }
  return l;
}

// (l l^T)^-1, by columns.
inline Square inverse(const Square& a, std::int64_t k) {
  const Square l = cholesky(a, k);
  Square result(a.size(), 0.0);
  std::vector<double> y(static_cast<std::size_t>(k));
  for (std::int64_t column = 0; column < k; ++column) {
    for (std::int64_t i = 0; i < k; ++i) {
      double sum = i == column ? 1.0 : 0.0;
      for (std::int64_t m = 0; m < i; ++m) sum -= l[static_cast<std::size_t>(i * k + m)] * y[static_cast<std::size_t>(m)];
      y[static_cast<std::size_t>(i)] = sum / l[static_cast<std::size_t>(i * k + i)];
    }
    for (std::int64_t i = k - 1; i >= 0; --i) {
      double sum = y[static_cast<std::size_t>(i)];
      for (std::int64_t m = i + 1; m < k; ++m) {
        sum -= l[static_cast<std::size_t>(m * k + i)] * result[static_cast<std::size_t>(m * k + column)];
      }
      result[static_cast<std::size_t>(i * k + column)] = sum / l[static_cast<std::size_t>(i * k + i)];
    }
  }
  return result;
}

inline Square damped(const std::vector<float>& h, std::int64_t k, double damping) {
  Square result(h.begin(), h.end());
  double mean = 0;
  for (std::int64_t i = 0; i < k; ++i) mean += result[static_cast<std::size_t>(i * k + i)] / static_cast<double>(k);
  for (std::int64_t i = 0; i < k; ++i) result[static_cast<std::size_t>(i * k + i)] += damping * mean;
  return result;
}

// Upper triangular u with u^T u = a^-1. 1 / u_kk^2 is the pivot of column k.
inline Square upper_of_inverse(const Square& a, std::int64_t k) {
  const Square l = cholesky(inverse(a, k), k);
  Square u(a.size());
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < k; ++j) u[static_cast<std::size_t>(i * k + j)] = l[static_cast<std::size_t>(j * k + i)];
  }
  return u;
}

struct Line {
  std::vector<double> scales;  // [groups]
  std::vector<int> codes;      // [k]
};

// One row, symmetric, scales found among those that amax of the updated weights suggests, rounded as options say.
inline Line gptq_line(const Options& options, std::vector<double> row, const Square& u) {
  const auto k = static_cast<std::int64_t>(row.size());
  const double half = implicit_zero(options.type);
  const auto code_of = [&](double value, double scale) { return std::clamp(std::nearbyint(value / scale) + half, 0.0, 2 * half - 1); };
  Line line;
  line.codes.resize(row.size());
  double scale = 0;
  for (std::int64_t i = 0; i < k; ++i) {
    if (i % options.group == 0) {
      const std::int64_t end = std::min(k, i + options.group);
      double extreme = 0, least = INFINITY;
      for (std::int64_t j = i; j < end; ++j) extreme = std::max(extreme, std::fabs(row[static_cast<std::size_t>(j)]));
      for (const double steps : {half - 0.5, half - 1, half}) {
        float stored = 0;
        store_element(&stored, options.scale_type, 0, static_cast<float>(extreme / steps));
        const double trial = load_element(&stored, options.scale_type, 0);
        double cost = 0;
        for (std::int64_t j = i; j < end; ++j) {
          const double value = row[static_cast<std::size_t>(j)], root = u[static_cast<std::size_t>(j * k + j)];
          cost += std::pow((value - (code_of(value, trial) - half) * trial) / root, 2);
        }
        if (cost < least) least = cost, scale = trial;
      }
      line.scales.push_back(scale);
    }
    const double value = row[static_cast<std::size_t>(i)], code = code_of(value, scale);
    line.codes[static_cast<std::size_t>(i)] = static_cast<int>(code);
    const double error = (value - (code - half) * scale) / u[static_cast<std::size_t>(i * k + i)];
    for (std::int64_t j = i; j < k; ++j) row[static_cast<std::size_t>(j)] -= error * u[static_cast<std::size_t>(i * k + j)];
  }
  return line;
}

// |X E^T|^2 over |X W^T|^2 as roots, from H, in f64.
inline double output_error(const std::vector<float>& weights, Result& result, const std::vector<float>& h) {
  double lost = 0, whole = 0;
  const std::int64_t k = result.k;
  std::vector<double> off(static_cast<std::size_t>(k)), row(static_cast<std::size_t>(k));
  for (std::int64_t r = 0; r < result.n; ++r) {
    for (std::int64_t i = 0; i < k; ++i) {
      row[static_cast<std::size_t>(i)] = weights[static_cast<std::size_t>(r * k + i)];
      off[static_cast<std::size_t>(i)] = row[static_cast<std::size_t>(i)] - result.value(r, i);
    }
    for (std::int64_t i = 0; i < k; ++i) {
      double of_row = 0, of_off = 0;
      for (std::int64_t j = 0; j < k; ++j) {
        const double moment = h[static_cast<std::size_t>(i * k + j)];
        of_row += moment * row[static_cast<std::size_t>(j)];
        of_off += moment * off[static_cast<std::size_t>(j)];
      }
      whole += of_row * row[static_cast<std::size_t>(i)];
      lost += of_off * off[static_cast<std::size_t>(i)];
    }
  }
  return std::sqrt(lost / whole);
}

}  // namespace billfish::quantize::test
