// SPDX-License-Identifier: Apache-2.0
// See factor.hpp. Read backwards, an upper factor is a lower one: the matrix is built in reverse order, factored as L L^T, and turned by
// 180 degrees in place.
#include "quantize/factor.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace billfish::quantize {
namespace {

constexpr double kRaise = 10.0;       // damping that did not suffice grows by this
constexpr double kMostDamping = 1e4;  // beyond it a matrix is not a sum of squares

}  // namespace

Result<Factor> factor(Engine& engine, const float* h, const std::vector<float>& diagonal, const std::int32_t* order, double damping) {
  const auto k = static_cast<std::int64_t>(diagonal.size());
  Factor result;
  result.k = k;
  result.links = Held<float>(engine, k * k);
  result.pivots_here.resize(diagonal.size());
  result.pivots = Held<float>::for_host(engine, result.pivots_here.data(), k);
  result.marks.resize(diagonal.size());
  for (std::size_t i = 0; i < diagonal.size(); ++i) {
    result.marks[i] = diagonal[i] == 0.0f ? 1 : 0;
    result.dead_columns += result.marks[i];
    result.mean += static_cast<double>(diagonal[i]);
  }
  result.dead = Held<std::uint8_t>::of(engine, result.marks.data(), k);
  result.mean = result.dead_columns < k ? result.mean / static_cast<double>(k - result.dead_columns) : 1.0;
  result.damping = damping;
  const auto positive = [](float pivot) { return pivot > 0.0f && std::isfinite(pivot); };
  do {
    // 1 / mean in f64: H may be as small or as large as f32 goes.
    engine.build({h, k, order, result.dead.get(), 1.0 / result.mean, result.damping, result.links.get()});
    if (engine.factor_lower(k, result.links.get())) {
      engine.turn(k, result.links.get(), result.pivots.get());
      result.pivots.to_host(engine, result.pivots_here.data(), k);
      if (std::all_of(result.pivots_here.begin(), result.pivots_here.end(), positive)) return result;
    }
    if (Status failed = engine.finish(); !failed.ok()) return failed;
    result.damping *= kRaise;
  } while (result.damping <= kMostDamping);
  return bad_input("hessian has no Cholesky factor, even with " + std::to_string(kMostDamping) +
                   " times its mean diagonal added: it is no matrix of second moments");
}

}  // namespace billfish::quantize
