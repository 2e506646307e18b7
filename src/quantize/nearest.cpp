// SPDX-License-Identifier: Apache-2.0
// See nearest.hpp. A task takes some rows: a panel of one group after another, or of all at once.
#include "quantize/nearest.hpp"

#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "core/half.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kWidestBlock = 512;  // a wider group's moments cost more than they gain

}  // namespace

Status check_scale_range(const Options& options, float largest) {
  const float steps = static_cast<float>((1 << bits_of(options.type)) - 1) * (has_zeros(options.type) ? 1.0f : 0.5f);
  const float scale = largest / steps;
  float stored = 0;
  store_element(&stored, options.scale_type, 0, scale);
  stored = load_element(&stored, options.scale_type, 0);
  if (largest == 0.0f || (stored > 0.0f && std::isfinite(stored))) return {};
  char magnitude[32];
  std::snprintf(magnitude, sizeof magnitude, "%g", static_cast<double>(largest));
  return bad_input(std::string("the largest weight is ") + magnitude + ", and its scale is too " + (stored > 0.0f ? "large" : "small") +
                   " for " + std::string(name_of(options.scale_type)) + ": take bf16 or f32 scales, or scale the weights");
}

Status nearest(Engine& engine, const Matrix& matrix, const float* importance, const float* h, Form& out, std::int64_t& clipped) {
  if (h != nullptr && matrix.group > kWidestBlock) h = nullptr;
  if (h != nullptr) {
    BILLFISH_RETURN_IF_ERROR(engine.can_multiply());
    importance = nullptr;
  }
  const std::int64_t n = matrix.n, k = matrix.k, parts = matrix.parts();
  const std::int64_t step = engine.all_groups_at_once() ? k : matrix.group, groups_of_step = ceil_div(step, matrix.group);
  const std::int64_t rows_at_once = engine.rows_at_once(n, step * static_cast<std::int64_t>(sizeof(float)));
  const std::int64_t tasks = ceil_div(n, rows_at_once);
  std::vector<std::int64_t> smaller(static_cast<std::size_t>(tasks), 0);
  const Status done = engine.run(tasks, [&](std::int64_t task) -> Status {
    const std::int64_t first = task * rows_at_once, rows = std::min(rows_at_once, round_up(n - first, kLanes));
    const Held<float> panel(engine, step * rows);
    const Held<std::uint8_t> marks(engine, groups_of_step * rows);
    std::vector<std::uint8_t> seen(static_cast<std::size_t>(groups_of_step * rows));
    for (std::int64_t begin = 0; begin < k; begin += step) {
      const std::int64_t columns = std::min(step, k - begin), groups = ceil_div(columns, matrix.group);
      engine.gather(
          {matrix.weights, n, matrix.ld, first, rows, nullptr, nullptr, begin, columns, 1.0f / matrix.scheme.unit, panel.get(), rows});
      Grid* const grids = out.grids.get() + begin / matrix.group * parts + first / kLanes;
      engine.choose({&matrix.scheme, panel.get(), rows, rows, columns, matrix.group, importance == nullptr ? nullptr : importance + begin,
                     h == nullptr ? nullptr : h + begin * (k + 1), k, grids, parts, marks.get(), rows});
      engine.encode({&matrix.scheme, panel.get(), rows, rows, columns, matrix.group, grids, parts, out.codes.get() + begin * n + first, n,
                     n - first, nullptr});
      if (!matrix.scheme.clip) continue;
      marks.to_host(engine, seen.data(), groups * rows);
      for (std::int64_t group = 0; group < groups; ++group) {
        const auto from = seen.begin() + group * rows;
        smaller[static_cast<std::size_t>(task)] += std::accumulate(from, from + std::min(rows, n - first), std::int64_t{0});
      }
    }
    return {};
  });
  clipped = std::accumulate(smaller.begin(), smaller.end(), std::int64_t{0});
  return done;
}

}  // namespace billfish::quantize
