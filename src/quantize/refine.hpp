// SPDX-License-Identifier: Apache-2.0
// What GPTQ leaves to gain: it never looks back at a code. Rounds of coordinate descent do, and fit scales to codes. Called by gptq.cpp;
// calls engine.hpp. Measured on twelve layers of a sentence-embedding model (4 bits, groups of 128, geometric mean of the outputs'
// errors on held-out samples, in per cent): rounds 0 to 3 give 3.89, 3.69, 3.60, 3.57 without an order, 3.16, 3.12, 3.09, 3.08 with the
// static one and clipping. On inputs without outliers (AR(1)) it is a thousandth, and it stops after the first.
#pragma once

#include <cstdint>

#include "quantize/engine.hpp"

namespace billfish::quantize {

struct RefineJob {
  const float* h = nullptr;  // [k, k], columns as they lie in W
  std::int64_t k = 0, group = 0;
  double mean = 1, damping = 0;  // as GPTQ's factor has them: H / mean + damping
  int rounds = 0;                // at most
  const Scheme* scheme = nullptr;

  // Codes, grids and errors of some rows, by column of W.
  std::int64_t rows = 0, parts = 0;
  float* errors = nullptr;        // [k, rows]
  std::uint8_t* codes = nullptr;  // [k, rows]
  Grid* grids = nullptr;          // [groups, parts]
  double* cost = nullptr;         // [rows]: sum of errors * (H / mean + damping) * errors; falls
};

void refine(Engine& engine, const RefineJob& job);

}  // namespace billfish::quantize
