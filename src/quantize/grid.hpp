// SPDX-License-Identifier: Apache-2.0
// The scale and zero of one group of 32 rows at a time. Called by cpu_engine.cpp and awq.cpp; calls lanes.hpp and linear_algebra.hpp.
//
// Everything is done in units of the matrix's own magnitude (Scheme::unit, a power of two), so that squares neither overflow nor vanish;
// only the stored scale knows the true size. The scale is always the stored one, rounded to its type, when codes are chosen or judged.
#pragma once

#include <cstdint>

#include "core/status.hpp"
#include "core/types.hpp"
#include "quantize/grid_search.hpp"
#include "quantize/lanes.hpp"
#include "quantize/linear_algebra.hpp"

namespace billfish::quantize {

// The power of two that brings `largest` (finite, >= 0) into [1, 2).
float unit_of(float largest);

// What an error in each column of a group costs: importance * error^2 (null: 1), or, where there are moments, error * moments * error,
// which knows how errors add up in outputs.
struct Price {
  const float* importance = nullptr;  // [columns]
  const float* moments = nullptr;     // [columns, ld]
  std::int64_t ld = 0;
  const LinearAlgebra* algebra = nullptr;  // with moments
};

// Chooses for the panel [columns, ld] (columns of one group): the candidate with the least price when every value is rounded to nearest.
//   symmetric   amax / 7.5, amax / 7 and amax / 8 (4-bit; the first is what others take, the last fits where the extreme is negative)
//   with zeros  the range, 0 included
//   clip        smaller ranges too, and then the scale that fits the codes found
// clipped[lane]: the range is smaller than the values'. A scale that its type cannot hold comes back infinite.
void choose_grid(const Scheme& scheme, const float* panel, std::int64_t ld, std::int64_t columns, const Price& price, Grid& best,
                 bool* clipped);

// grid -> `lanes` elements of row `group` of scales [groups, n] and, if not null, zeros, from column `first` on. Refuses infinite scales.
Status store_grid(const Scheme& scheme, const Grid& grid, int lanes, std::int64_t n, std::int64_t group, std::int64_t first, void* scales,
                  std::uint8_t* zeros);

}  // namespace billfish::quantize
