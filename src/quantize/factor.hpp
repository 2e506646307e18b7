// SPDX-License-Identifier: Apache-2.0
// H, damped and in the order in which columns are quantised, as (I + U) D (I + U)^T with U strictly upper: what GPTQ needs. Called by
// gptq.cpp; calls engine.hpp.
//
// With E = W - Q, x (W - Q)^T has the mean square tr(E H E^T) / 2 = sum over columns k of D_k * |(E (I + U))_k|^2, and (E (I + U))_k is
// w_k + sum over j < k of e_j U_jk - q_k: the rounding error of a target that earlier columns alone decide. So the best that a column can
// do, whatever comes later, is to round that target; D_k is what a unit of its error costs once all later columns have made up for it.
// It is the recursion that others write with the Cholesky factor of the inverse of H (tests/quantize/reference.hpp has that form).
#pragma once

#include <cstdint>
#include <vector>

#include "quantize/engine.hpp"
#include "quantize/quantize.hpp"

namespace billfish::quantize {

struct Factor {
  std::int64_t k = 0;
  Held<float> links;                // U [k, k], in places of the order; only what is above the diagonal means anything
  Held<float> pivots;               // D [k], in units of H's mean diagonal
  std::vector<float> pivots_here;   // the same, in host memory
  Held<std::uint8_t> dead;          // [k] by column of W: zero in every sample
  std::vector<std::uint8_t> marks;  // the same, in host memory
  std::int64_t dead_columns = 0;
  double mean = 0;     // of H's diagonal, dead columns left out; 1 where all are dead
  double damping = 0;  // this part of `mean` was added to the diagonal
};

// h [k,k] in the engine's memory: finite, its diagonal (given in host memory too) not negative (check_hessian).
// order [k], in the engine's memory: place -> column of W.
Result<Factor> factor(Engine& engine, const float* h, const std::vector<float>& diagonal, const std::int32_t* order, double damping);

}  // namespace billfish::quantize
