// SPDX-License-Identifier: Apache-2.0
// Which grids a group of weights is tried on, and which wins: once for 32 rows in the lanes of vectors (grid.cpp) and for one row in a
// thread of a CUDA device (cuda/quantize/). Included by those two alone; calls core/.
//
// A Panel holds the values of one group of Panel::kRows rows and knows what an error costs:
//   range(low, high)          the least and the largest value of every row; 0 always counts
//   error(grid, error)        what rounding to this grid costs
//   fit(grid, over, under)    the scale under which the grid's codes come nearest to the values is over / under
//   products()                whether each error() is a product with moments: then fewer ranges are tried
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/half.hpp"
#include "core/integers.hpp"
#include "core/types.hpp"
#include "quantize/lanes.hpp"

namespace billfish::quantize {

struct Scheme {
  WeightType type = WeightType::u4b8;
  ElementType scale_type = ElementType::f16;
  bool clip = false;
  float unit = 1.0f;  // a power of two: weight = unit * value in a panel
  const LaneKernels* kernels = nullptr;

  BILLFISH_HD float largest_code() const { return static_cast<float>((1 << bits_of(type)) - 1); }
};

BILLFISH_HD inline float smallest_of(ElementType type) {  // subnormal
  return type == ElementType::f16 ? 0x1p-24f : type == ElementType::bf16 ? 0x1p-133f : 0x1p-149f;
}
BILLFISH_HD inline float inverse_of(float scale) {
  return scale > 0.0f && scale < std::numeric_limits<float>::infinity() ? 1.0f / scale : 0.0f;
}

// What is stored for a scale of `wanted` units, in units; infinite if the type cannot hold it. Only 0 becomes 0: a tiny scale still tells
// signs apart.
BILLFISH_HD inline float storable_scale(const Scheme& scheme, float wanted) {
  const float size = wanted * scheme.unit;
  float scale = scheme.scale_type == ElementType::f16    ? f16_to_f32(f32_to_f16(size))
                : scheme.scale_type == ElementType::bf16 ? bf16_to_f32(f32_to_bf16(size))
                                                         : size;
  if (scale == 0.0f && wanted > 0.0f) scale = smallest_of(scheme.scale_type);
  return scale / scheme.unit;
}

// The scale under which a row of a group costs least while its codes stay: a parabola in the scale, with these first and second
// derivatives (halved, and of the cost as the scale falls). `cost` falls by what that saves; the old scale where nothing is saved.
BILLFISH_HD inline float fitted_scale(const Scheme& scheme, float slope, float curve, float scale, double& cost) {
  if (!(curve > 0.0f)) return scale;
  const float fitted = storable_scale(scheme, scale + slope / curve);
  const float less = scale - fitted;  // errors grow by less * steps
  const double fell = -static_cast<double>(less) * (2.0 * slope + static_cast<double>(less) * curve);
  if (!(fell > 0.0) || !(fitted > 0.0f) || !(fitted < std::numeric_limits<float>::infinity())) return scale;
  cost -= fell;
  return fitted;
}

template <class Panel>
class GridSearch {
 public:
  static constexpr int kRows = Panel::kRows;

  BILLFISH_HD GridSearch(const Scheme& scheme, const Panel& panel, GridOf<kRows>& best) : scheme_(scheme), panel_(panel), best_(best) {
    panel_.range(low_, high_);
    for (int row = 0; row < kRows; ++row) {
      least_[row] = std::numeric_limits<float>::infinity();
      chosen_parts_[row] = 0.0f;
      extreme_[row] = std::max(high_[row], -low_[row]);
      best_.scale[row] = std::numeric_limits<float>::infinity();  // until a candidate fits the type
      best_.inverse[row] = 0.0f;
      best_.zero[row] = static_cast<float>(implicit_zero(scheme_.type));
    }
  }

  // Every candidate in turn; clipped[row]: the range is smaller than the values'.
  BILLFISH_HD void run(bool* clipped) {
    // Ranges that the search for a smaller one looks at, as parts of the whole. Below 0.4 nothing was ever best in measurements with
    // normal and with heavy-tailed weights, groups of 32 to 4096.
    constexpr float kLeastPart = 0.4f, kPartStep = 0.025f, kPartStepOfProducts = 0.05f;
    constexpr int kFits = 2;
    const bool zeros = has_zeros(scheme_.type);
    const float half = static_cast<float>(implicit_zero(scheme_.type));
    const float step = panel_.products() ? kPartStepOfProducts : kPartStep;
    const int wholes = zeros ? 1 : 3, ways = zeros ? 3 : 1;  // candidates that take the whole range; of each smaller part
    float part = 1.0f;
    for (int i = 0;; ++i) {  // one call of judge() for them all: on a device it is most of the code
      const int way = i < wholes ? i : (i - wholes) % ways;
      if (i >= wholes && way == 0) part -= step;
      if (i >= wholes && !(scheme_.clip && part >= kLeastPart)) break;
      if (zeros) {
        want_range(way == 2 ? 1.0f : part, way == 1 ? 1.0f : part);
      } else {
        want_extreme(i >= wholes ? part / (half - 0.5f) : 1.0f / (way == 0 ? half - 0.5f : way == 1 ? half - 1.0f : half));
      }
      judge();
    }
    for (int left = scheme_.clip ? kFits : 0; left > 0; --left) {
      want_fitted();
      judge();
    }
    for (int row = 0; row < kRows; ++row) {
      // Symmetric: half steps reach half * scale at the most. Rounding the scale is no clipping, hence a hundredth of room.
      clipped[row] =
          scheme_.clip && (zeros ? chosen_parts_[row] < 1.0f && best_.scale[row] > 0.0f : best_.scale[row] * half < 0.99f * extreme_[row]);
    }
  }

 private:
  // A grid of steps extreme * part, around the type's own zero.
  BILLFISH_HD void want_extreme(float part) {
    for (int row = 0; row < kRows; ++row) wanted_[row] = extreme_[row] * part;
    want_scales();
  }
  // A grid from low * low_part to high * high_part.
  BILLFISH_HD void want_range(float low_part, float high_part) {
    for (int row = 0; row < kRows; ++row) {
      const float low = low_[row] * low_part, high = high_[row] * high_part;
      GridOf<kRows>& grid = trial_;
      grid.scale[row] = storable_scale(scheme_, (high - low) / scheme_.largest_code());
      grid.inverse[row] = inverse_of(grid.scale[row]);
      const float zero = nearbyintf(-low * grid.inverse[row]);
      grid.zero[row] = zero < 0.0f ? 0.0f : zero > scheme_.largest_code() ? scheme_.largest_code() : zero;
      parts_[row] = std::min(low_part, high_part);
    }
  }
  // The scales under which the codes of the best grids come nearest to the values.
  BILLFISH_HD void want_fitted() {
    float over[kRows], under[kRows];
    panel_.fit(best_, over, under);
    for (int row = 0; row < kRows; ++row) wanted_[row] = under[row] > 0.0f ? std::max(over[row] / under[row], 0.0f) : 0.0f;
    want_scales();
  }
  BILLFISH_HD void want_scales() {
    for (int row = 0; row < kRows; ++row) {
      trial_.scale[row] = storable_scale(scheme_, wanted_[row]);
      trial_.inverse[row] = inverse_of(trial_.scale[row]);
      trial_.zero[row] = best_.zero[row];
      parts_[row] = chosen_parts_[row];
    }
  }
  BILLFISH_HD void judge() {
    float error[kRows];
    panel_.error(trial_, error);
    for (int row = 0; row < kRows; ++row) {
      if (!(error[row] < least_[row]) || trial_.scale[row] == std::numeric_limits<float>::infinity()) continue;
      least_[row] = error[row];
      best_.scale[row] = trial_.scale[row];
      best_.inverse[row] = trial_.inverse[row];
      best_.zero[row] = trial_.zero[row];
      chosen_parts_[row] = parts_[row];
    }
  }

  const Scheme& scheme_;
  const Panel& panel_;
  GridOf<kRows>& best_;
  GridOf<kRows> trial_;
  float least_[kRows], low_[kRows], high_[kRows], extreme_[kRows], wanted_[kRows], parts_[kRows], chosen_parts_[kRows];
};

}  // namespace billfish::quantize
