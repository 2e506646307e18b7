// SPDX-License-Identifier: Apache-2.0
// The inner loops of quantising. Matrices [n,k] are taken through in panels, transposed: a column of k after another, and 32 rows of n
// side by side in the lanes of vectors. One table of loops for every instruction set, all with the same bits (on a CUDA device a lane is
// a thread: cuda/quantize/). Called by grid.cpp, cpu_engine.cpp and awq.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace billfish::quantize {

constexpr int kLanes = 32;       // rows of [n,k] side by side
constexpr int kMostWidth = 128;  // columns that GPTQ's innermost loop takes at once

// Where the codes of one group of some rows lie: code c means scale * (c - zero). A scale of 0 (nothing but zeros) has inverse 0.
template <int kRows>
struct GridOf {
  static constexpr std::size_t kAlignment = kRows * sizeof(float) < 64 ? sizeof(float) : 64;
  alignas(kAlignment) float scale[kRows];
  alignas(kAlignment) float inverse[kRows];
  alignas(kAlignment) float zero[kRows];
};
using Grid = GridOf<kLanes>;

// GPTQ within a block of columns whose targets know of everything before the block.
struct FeedBack {
  const float* targets = nullptr;  // [width, ld]
  const float* weights = nullptr;  // [width, ld]
  std::int64_t ld = 0;
  int width = 0;
  const float* links = nullptr;        // [width, kMostWidth]: row k holds U[j][k] for j < k
  const float* pivots = nullptr;       // [width]
  const Grid* const* grids = nullptr;  // [width]: the grid of each column
  float largest_code = 0;
  float* errors = nullptr;        // [width, ld]: weights - what the codes mean
  std::uint8_t* codes = nullptr;  // [width, ld_codes]
  std::int64_t ld_codes = 0;
  float* cost = nullptr;  // [kLanes] += sum of pivot * (target - what the code means)^2
};

// One round of coordinate descent over a block of columns: each code becomes the best one while all others stay.
struct Improve {
  const float* gradients = nullptr;  // [width, ld]: errors times moments, as they were before the block
  std::int64_t ld = 0;
  int width = 0;
  const float* links = nullptr;    // [width, kMostWidth]: row k holds the moments of k with every j < k
  const float* moments = nullptr;  // [width]: of k with itself; 0: the column stays as it is
  const Grid* const* grids = nullptr;
  float largest_code = 0;
  float* errors = nullptr;  // [width, ld]
  std::uint8_t* codes = nullptr;
  std::int64_t ld_codes = 0;
  float* gain = nullptr;  // [kLanes] += what the sum of errors * moments * errors fell by
};

struct LaneKernels {
  const char* name;

  // panel [columns, ld] of the least and the largest value of every lane; 0 always counts.
  void (*range)(const float* panel, std::int64_t ld, std::int64_t columns, float* low, float* high);
  // error[lane] = sum over columns of importance * (value - its nearest on the grid)^2; importance null: 1.
  void (*nearest_error)(const float* panel, std::int64_t ld, std::int64_t columns, const float* importance, const Grid& grid,
                        float largest_code, float* error);
  // The scale that suits the codes best: over[lane] / under[lane], sums of importance * value * (code - zero) and ... * (code - zero)^2.
  void (*fit)(const float* panel, std::int64_t ld, std::int64_t columns, const float* importance, const Grid& grid, float largest_code,
              float* over, float* under);
  // steps [columns, kLanes] = code - zero of every value, and what is left of it, residuals [columns, kLanes].
  void (*split)(const float* panel, std::int64_t ld, std::int64_t columns, const Grid& grid, float largest_code, float* steps,
                float* residuals);
  void (*encode)(const float* panel, std::int64_t ld, std::int64_t columns, const Grid& grid, float largest_code, std::uint8_t* codes,
                 std::int64_t ld_codes);
  // errors [columns, ld] = panel - what the codes mean.
  void (*subtract)(const float* panel, std::int64_t ld, std::int64_t columns, const Grid& grid, const std::uint8_t* codes,
                   std::int64_t ld_codes, float* errors);
  // sum[lane] = over columns of a * b, both [columns, ld]
  void (*dot)(const float* a, const float* b, std::int64_t ld, std::int64_t columns, float* sum);
  void (*feed_back)(const FeedBack& block);
  void (*improve)(const Improve& block);
};

extern const LaneKernels scalar_lane_kernels;
extern const LaneKernels avx2_lane_kernels;  // the scalar ones where the compiler has no AVX2
const LaneKernels& best_lane_kernels();      // for this machine

}  // namespace billfish::quantize
