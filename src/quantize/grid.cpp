// SPDX-License-Identifier: Apache-2.0
// See grid.hpp.
#include "quantize/grid.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/half.hpp"
#include "quantize/panel.hpp"

namespace billfish::quantize {
namespace {

constexpr float kInfinite = std::numeric_limits<float>::infinity();

float smallest_of(ElementType type) {  // subnormal
  return type == ElementType::f16 ? 0x1p-24f : type == ElementType::bf16 ? 0x1p-133f : 0x1p-149f;
}

float inverse_of(float scale) { return scale > 0.0f && scale < kInfinite ? 1.0f / scale : 0.0f; }

class Search {
 public:
  Search(const Scheme& scheme, const float* panel, std::int64_t ld, std::int64_t columns, const Price& price, Grid& best)
      : scheme_(scheme),
        panel_(panel),
        ld_(ld),
        columns_(columns),
        price_(price),
        best_(best),
        space_(price.moments == nullptr ? 0 : 3 * columns * kLanes) {
    for (float& error : least_) error = kInfinite;
    scheme_.kernels->range(panel_, ld_, columns_, low_, high_);
    for (int lane = 0; lane < kLanes; ++lane) {
      extreme_[lane] = std::max(high_[lane], -low_[lane]);
      best_.scale[lane] = kInfinite;  // until a candidate fits the type
      best_.inverse[lane] = 0.0f;
      best_.zero[lane] = static_cast<float>(implicit_zero(scheme_.type));
    }
  }

  // A grid of steps extreme * part, around the type's own zero.
  void try_symmetric(float part) {
    for (int lane = 0; lane < kLanes; ++lane) wanted_[lane] = extreme_[lane] * part;
    try_wanted();
  }
  // A grid from low * low_part to high * high_part.
  void try_range(float low_part, float high_part) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float low = low_[lane] * low_part, high = high_[lane] * high_part;
      Grid& grid = trial_;
      grid.scale[lane] = storable_scale(scheme_, (high - low) / scheme_.largest_code());
      grid.inverse[lane] = inverse_of(grid.scale[lane]);
      grid.zero[lane] = std::clamp(std::nearbyint(-low * grid.inverse[lane]), 0.0f, scheme_.largest_code());
      parts_[lane] = std::min(low_part, high_part);
    }
    judge();
  }
  // The scales under which the codes of the best grids come nearest to the values.
  void try_fitted() {
    float over[kLanes], under[kLanes];
    if (price_.moments == nullptr) {
      scheme_.kernels->fit(panel_, ld_, columns_, price_.importance, best_, scheme_.largest_code(), over, under);
    } else {
      split(best_);
      push(steps());
      scheme_.kernels->dot(pushed(), residuals(), kLanes, columns_, over);
      scheme_.kernels->dot(pushed(), steps(), kLanes, columns_, under);
      for (int lane = 0; lane < kLanes; ++lane) over[lane] += best_.scale[lane] * under[lane];
    }
    for (int lane = 0; lane < kLanes; ++lane) wanted_[lane] = under[lane] > 0.0f ? std::max(over[lane] / under[lane], 0.0f) : 0.0f;
    try_wanted();
  }

  float extreme(int lane) const { return extreme_[lane]; }
  float least_part(int lane) const { return chosen_parts_[lane]; }

 private:
  void try_wanted() {
    for (int lane = 0; lane < kLanes; ++lane) {
      trial_.scale[lane] = storable_scale(scheme_, wanted_[lane]);
      trial_.inverse[lane] = inverse_of(trial_.scale[lane]);
      trial_.zero[lane] = best_.zero[lane];
      parts_[lane] = chosen_parts_[lane];
    }
    judge();
  }
  void judge() {
    float error[kLanes];
    if (price_.moments == nullptr) {
      scheme_.kernels->nearest_error(panel_, ld_, columns_, price_.importance, trial_, scheme_.largest_code(), error);
    } else {
      split(trial_);
      push(residuals());
      scheme_.kernels->dot(pushed(), residuals(), kLanes, columns_, error);
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      if (!(error[lane] < least_[lane]) || trial_.scale[lane] == kInfinite) continue;
      least_[lane] = error[lane];
      best_.scale[lane] = trial_.scale[lane];
      best_.inverse[lane] = trial_.inverse[lane];
      best_.zero[lane] = trial_.zero[lane];
      chosen_parts_[lane] = parts_[lane];
    }
  }

  float* steps() const { return space_.get(); }
  float* residuals() const { return space_.get() + columns_ * kLanes; }
  float* pushed() const { return space_.get() + 2 * columns_ * kLanes; }
  void split(const Grid& grid) const { scheme_.kernels->split(panel_, ld_, columns_, grid, scheme_.largest_code(), steps(), residuals()); }
  void push(const float* by) const {  // pushed = moments * by
    using Op = LinearAlgebra::Op;
    price_.algebra->multiply(Op::plain, Op::plain, columns_, kLanes, columns_, 1.0f, price_.moments, price_.ld, by, kLanes, 0.0f, pushed(),
                             kLanes);
  }

  const Scheme& scheme_;
  const float* panel_;
  std::int64_t ld_, columns_;
  const Price& price_;
  Grid& best_;
  Buffer<float> space_;  // with moments: three panels [columns, kLanes]
  Grid trial_;
  float least_[kLanes], low_[kLanes], high_[kLanes], extreme_[kLanes], wanted_[kLanes], parts_[kLanes];
  float chosen_parts_[kLanes] = {};
};

// Ranges that the search for a smaller one looks at, as parts of the whole. Below 0.4 nothing was ever best in measurements with normal
// and with heavy-tailed weights, groups of 32 to 4096.
constexpr float kLeastPart = 0.4f, kPartStep = 0.025f, kPartStepOfProducts = 0.05f;
constexpr int kFits = 2;

}  // namespace

float storable_scale(const Scheme& scheme, float wanted) {
  float stored = 0;
  store_element(&stored, scheme.scale_type, 0, wanted * scheme.unit);
  float scale = load_element(&stored, scheme.scale_type, 0);
  if (scale == 0.0f && wanted > 0.0f) scale = smallest_of(scheme.scale_type);
  return scale / scheme.unit;
}

float unit_of(float largest) {
  if (!(largest > 0.0f)) return 1.0f;
  return std::ldexp(1.0f, std::clamp(std::ilogb(largest), -126, 126));
}

void choose_grid(const Scheme& scheme, const float* panel, std::int64_t ld, std::int64_t columns, const Price& price, Grid& best,
                 bool* clipped) {
  Search search(scheme, panel, ld, columns, price, best);
  const bool zeros = has_zeros(scheme.type);
  const float half = static_cast<float>(implicit_zero(scheme.type));
  if (zeros) {
    search.try_range(1.0f, 1.0f);
  } else {
    for (const float steps : {half - 0.5f, half - 1.0f, half}) search.try_symmetric(1.0f / steps);
  }
  const float step = price.moments == nullptr ? kPartStep : kPartStepOfProducts;  // a product a candidate: fewer of them
  for (float part = 1.0f - step; scheme.clip && part >= kLeastPart; part -= step) {
    if (zeros) {
      search.try_range(part, part);
      search.try_range(part, 1.0f);
      search.try_range(1.0f, part);
    } else {
      search.try_symmetric(part / (half - 0.5f));
    }
  }
  for (int i = 0; scheme.clip && i < kFits; ++i) search.try_fitted();
  for (int lane = 0; lane < kLanes; ++lane) {
    // Symmetric: half steps reach half * scale at the most. Rounding the scale is no clipping, hence a hundredth of room.
    clipped[lane] = scheme.clip && (zeros ? search.least_part(lane) < 1.0f && best.scale[lane] > 0.0f
                                          : best.scale[lane] * half < 0.99f * search.extreme(lane));
  }
}

Status store_grid(const Scheme& scheme, const Grid& grid, int lanes, std::int64_t n, std::int64_t group, std::int64_t first, void* scales,
                  std::uint8_t* zeros) {
  for (int lane = 0; lane < lanes; ++lane) {
    const std::int64_t at = group * n + first + lane;
    if (!(grid.scale[lane] < kInfinite)) {
      return bad_input("the weights of output " + std::to_string(first + lane) + ", group " + std::to_string(group) +
                       " need a scale too large for " + std::string(name_of(scheme.scale_type)) +
                       ": take bf16 or f32 scales, or scale the weights down");
    }
    store_element(scales, scheme.scale_type, at, grid.scale[lane] * scheme.unit);
    if (zeros != nullptr) zeros[at] = static_cast<std::uint8_t>(grid.zero[lane]);
  }
  return {};
}

void load_grid(const Scheme& scheme, int lanes, std::int64_t at, const void* scales, const std::uint8_t* zeros, Grid& grid) {
  for (int lane = 0; lane < kLanes; ++lane) {
    grid.scale[lane] = lane < lanes ? load_element(scales, scheme.scale_type, at + lane) / scheme.unit : 0.0f;
    grid.inverse[lane] = inverse_of(grid.scale[lane]);
    grid.zero[lane] = zeros == nullptr ? static_cast<float>(implicit_zero(scheme.type))
                      : lane < lanes   ? static_cast<float>(zeros[at + lane])
                                       : 0.0f;
  }
}

}  // namespace billfish::quantize
