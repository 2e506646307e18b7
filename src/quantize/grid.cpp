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

// The panel of grid_search.hpp whose rows are the lanes of vectors.
class LanePanel {
 public:
  static constexpr int kRows = kLanes;

  LanePanel(const Scheme& scheme, const float* panel, std::int64_t ld, std::int64_t columns, const Price& price)
      : scheme_(scheme),
        panel_(panel),
        ld_(ld),
        columns_(columns),
        price_(price),
        space_(price.moments == nullptr ? 0 : 3 * columns * kLanes) {}

  bool products() const { return price_.moments != nullptr; }
  void range(float* low, float* high) const { scheme_.kernels->range(panel_, ld_, columns_, low, high); }
  void error(const Grid& grid, float* error) const {
    if (price_.moments == nullptr) {
      scheme_.kernels->nearest_error(panel_, ld_, columns_, price_.importance, grid, scheme_.largest_code(), error);
      return;
    }
    split(grid);
    push(residuals());
    scheme_.kernels->dot(pushed(), residuals(), kLanes, columns_, error);
  }
  void fit(const Grid& grid, float* over, float* under) const {
    if (price_.moments == nullptr) {
      scheme_.kernels->fit(panel_, ld_, columns_, price_.importance, grid, scheme_.largest_code(), over, under);
      return;
    }
    split(grid);
    push(steps());
    scheme_.kernels->dot(pushed(), residuals(), kLanes, columns_, over);
    scheme_.kernels->dot(pushed(), steps(), kLanes, columns_, under);
    for (int lane = 0; lane < kLanes; ++lane) over[lane] += grid.scale[lane] * under[lane];
  }

 private:
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
  Buffer<float> space_;  // with moments: three panels [columns, kLanes]
};

}  // namespace

float unit_of(float largest) {
  if (!(largest > 0.0f)) return 1.0f;
  return std::ldexp(1.0f, std::clamp(std::ilogb(largest), -126, 126));
}

void choose_grid(const Scheme& scheme, const float* panel, std::int64_t ld, std::int64_t columns, const Price& price, Grid& best,
                 bool* clipped) {
  const LanePanel values(scheme, panel, ld, columns, price);
  GridSearch<LanePanel>(scheme, values, best).run(clipped);
}

Status store_grid(const Scheme& scheme, const Grid& grid, int lanes, std::int64_t n, std::int64_t group, std::int64_t first, void* scales,
                  std::uint8_t* zeros) {
  for (int lane = 0; lane < lanes; ++lane) {
    const std::int64_t at = group * n + first + lane;
    if (!(grid.scale[lane] < std::numeric_limits<float>::infinity())) {
      return bad_input("the weights of output " + std::to_string(first + lane) + ", group " + std::to_string(group) +
                       " need a scale too large for " + std::string(name_of(scheme.scale_type)) +
                       ": take bf16 or f32 scales, or scale the weights down");
    }
    store_element(scales, scheme.scale_type, at, grid.scale[lane] * scheme.unit);
    if (zeros != nullptr) zeros[at] = static_cast<std::uint8_t>(grid.zero[lane]);
  }
  return {};
}

}  // namespace billfish::quantize
