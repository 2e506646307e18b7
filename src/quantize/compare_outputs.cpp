// SPDX-License-Identifier: Apache-2.0
#include "quantize/compare_outputs.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "core/half.hpp"
#include "core/integers.hpp"
#include "quantize/linear_algebra.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kTile = 256;  // outputs that one task makes: two tiles of 256 tokens are half a megabyte
constexpr int kLanes = 8;

float dot(const float* a, const float* b, std::int64_t k) {
  float sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0;
  for (const float part : sums) sum += part;
  for (; i < k; ++i) sum += a[i] * b[i];
  return sum;
}

// y [tokens, rows] = x [tokens, k] times the rows of w.
void outputs(const LinearAlgebra* library, const std::vector<float>& x, std::int64_t tokens, const Weights& w, std::int64_t first,
             std::int64_t rows, float* y) {
  const float* const at = w.data + first * w.ld;
  if (library) {
    using Op = LinearAlgebra::Op;
    library->multiply(Op::plain, Op::transposed, tokens, rows, w.k, 1.0f, x.data(), w.k, at, w.ld, 0.0f, y, rows);
    return;
  }
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t row = 0; row < rows; ++row) y[t * rows + row] = dot(x.data() + t * w.k, at + row * w.ld, w.k);
  }
}

struct Sums {
  double before = 0, after = 0, product = 0, difference = 0;
};

}  // namespace

Result<OutputsCompared> compare_outputs(const Weights& before, const Weights& after, const Samples& samples, const Parallel& parallel) {
  const std::int64_t tokens = samples.tokens, n = before.n, k = before.k;
  if (!samples.x || after.n != n || after.k != k) return invalid_argument("outputs are compared on samples, of two matrices of one shape");
  const std::int64_t stride = samples.ld == 0 ? k : samples.ld;
  std::vector<float> x(static_cast<std::size_t>(tokens * k));
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < k; ++i) x[static_cast<std::size_t>(t * k + i)] = load_element(samples.x, samples.x_type, t * stride + i);
  }
  const Result<const LinearAlgebra*> found = LinearAlgebra::get();
  const LinearAlgebra* const library =
      found.ok() && LinearAlgebra::fits(std::max({tokens, n, k}), std::max(before.ld, after.ld)) ? *found : nullptr;
  std::optional<LinearAlgebra::OneThread> alone;
  if (library) alone.emplace(*library);
  const std::int64_t tiles = ceil_div(n, kTile);
  std::vector<Sums> sums(static_cast<std::size_t>(tiles * tokens));
  parallel.run(tiles, [&](std::int64_t tile) {
    const std::int64_t first = tile * kTile, rows = std::min(kTile, n - first);
    std::vector<float> y(static_cast<std::size_t>(tokens * rows)), z(y.size());
    outputs(library, x, tokens, before, first, rows, y.data());
    outputs(library, x, tokens, after, first, rows, z.data());
    for (std::int64_t t = 0; t < tokens; ++t) {
      Sums& sum = sums[static_cast<std::size_t>(tile * tokens + t)];
      for (std::int64_t row = 0; row < rows; ++row) {
        const double a = y[static_cast<std::size_t>(t * rows + row)], b = z[static_cast<std::size_t>(t * rows + row)];
        sum.before += a * a;
        sum.after += b * b;
        sum.product += a * b;
        sum.difference += (a - b) * (a - b);
      }
    }
  });
  double difference = 0, all = 0, cosines = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    Sums token;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const Sums& sum = sums[static_cast<std::size_t>(tile * tokens + t)];
      token.before += sum.before;
      token.after += sum.after;
      token.product += sum.product;
      token.difference += sum.difference;
    }
    difference += token.difference;
    all += token.before;
    const bool nothing = token.before == 0 && token.after == 0, one = token.before == 0 || token.after == 0;
    cosines += nothing ? 1.0 : one ? 0.0 : token.product / std::sqrt(token.before * token.after);
  }
  OutputsCompared out;
  out.error = all > 0 ? std::sqrt(difference / all) : difference > 0 ? 1.0 : 0.0;
  out.cosine = tokens > 0 ? cosines / static_cast<double>(tokens) : 1.0;
  return out;
}

}  // namespace billfish::quantize
