// SPDX-License-Identifier: Apache-2.0
// See nearest.hpp. A task takes 64 rows: a panel of one group after another, 32 KiB of it for the usual group of 128.
#include "quantize/nearest.hpp"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "core/half.hpp"
#include "quantize/grid.hpp"
#include "quantize/panel.hpp"

namespace billfish::quantize {
namespace {

constexpr std::int64_t kRows = 2 * kLanes;
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

Status nearest(const Options& options, const Weights& weights, const float* importance, float largest, Quantized& out, const float* h) {
  BILLFISH_RETURN_IF_ERROR(check_scale_range(options, largest));
  const LinearAlgebra* algebra = nullptr;
  if (h != nullptr && options.group <= kWidestBlock) {
    const Result<const LinearAlgebra*> found = LinearAlgebra::get();
    if (!found.ok()) return found.status();
    algebra = *found;
  }
  std::optional<LinearAlgebra::OneThread> alone;
  if (algebra != nullptr) alone.emplace(*algebra);
  const float unit = unit_of(largest);
  const Scheme scheme = {options.type, options.scale_type, options.clip, unit, &best_lane_kernels()};
  const std::int64_t n = weights.n, k = weights.k, tasks = ceil_div(n, kRows);
  std::vector<std::int64_t> clipped(static_cast<std::size_t>(tasks), 0);
  Status done = run_all(options.parallel, tasks, [&](std::int64_t task) -> Status {
    const Buffer<float> panel(options.group * kRows);
    alignas(64) std::uint8_t block[16 * kRows];  // codes of 16 columns, before the part behind the last row is cut off
    for (std::int64_t begin = 0; begin < k; begin += options.group) {
      const std::int64_t columns = std::min(options.group, k - begin), group = begin / options.group;
      gather_panel(weights, task * kRows, kRows, nullptr, begin, columns, 1.0f / unit, panel.get(), kRows);
      for (std::int64_t first = task * kRows; first < std::min(n, (task + 1) * kRows); first += kLanes) {
        const int lanes = static_cast<int>(std::min<std::int64_t>(kLanes, n - first));
        const float* const part = panel.get() + (first - task * kRows);
        Grid grid;
        bool smaller[kLanes];
        Price price = {importance == nullptr ? nullptr : importance + begin};
        if (algebra != nullptr) price = {nullptr, h + begin * k + begin, k, algebra};
        choose_grid(scheme, part, kRows, columns, price, grid, smaller);
        for (int lane = 0; lane < lanes; ++lane) clipped[static_cast<std::size_t>(task)] += smaller[lane] ? 1 : 0;
        BILLFISH_RETURN_IF_ERROR(store_grid(scheme, grid, lanes, n, group, first, out.scales, out.zeros));
        if (lanes == kLanes) {
          scheme.kernels->encode(part, kRows, columns, grid, scheme.largest_code(), out.codes + begin * n + first, n);
          continue;
        }
        for (std::int64_t c = 0; c < columns; c += 16) {
          const std::int64_t count = std::min<std::int64_t>(16, columns - c);
          scheme.kernels->encode(part + c * kRows, kRows, count, grid, scheme.largest_code(), block, kRows);
          for (std::int64_t i = 0; i < count; ++i) {
            std::memcpy(out.codes + (begin + c + i) * n + first, block + i * kRows, static_cast<std::size_t>(lanes));
          }
        }
      }
    }
    return {};
  });
  out.clipped_groups = 0;
  for (const std::int64_t groups : clipped) out.clipped_groups += groups;
  return done;
}

}  // namespace billfish::quantize
