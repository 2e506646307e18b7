// SPDX-License-Identifier: Apache-2.0
// What GPTQ leaves to gain: it never looks back at a code. Rounds of coordinate descent do, and fit scales to codes. Called by gptq.cpp;
// calls linear_algebra.hpp. Measured on twelve layers of a sentence-embedding model (4 bits, groups of 128, geometric mean of the outputs'
// errors on held-out samples, in per cent): rounds 0 to 3 give 3.89, 3.69, 3.60, 3.57 without an order, 3.16, 3.12, 3.09, 3.08 with the
// static one and clipping. On inputs without outliers (AR(1)) it is a thousandth, and it stops after the first.
#pragma once

#include <cstdint>

#include "quantize/grid.hpp"
#include "quantize/linear_algebra.hpp"
#include "quantize/panel.hpp"

namespace billfish::quantize {

struct RefineJob {
  const LinearAlgebra* algebra = nullptr;
  const float* h = nullptr;  // [k, k], columns as they lie in W
  std::int64_t k = 0, group = 0;
  double mean = 1, damping = 0;  // as GPTQ's factor has them: H / mean + damping
  int rounds = 0;                // at most
  const Scheme* scheme = nullptr;
};

constexpr std::int64_t kRefineRows = 128;

// Codes, grids and errors of 128 rows, by column of W.
struct RefineRows {
  float* errors = nullptr;        // [k, 128]
  std::uint8_t* codes = nullptr;  // [k, 128]
  Grid* grids = nullptr;          // [groups, 4]
  double* cost = nullptr;         // [128]: sum of errors * (H / mean + damping) * errors; falls
};

void refine(const RefineJob& job, const RefineRows& rows);

}  // namespace billfish::quantize
