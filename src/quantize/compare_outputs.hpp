// SPDX-License-Identifier: Apache-2.0
// Outputs of a matrix and of what became of it, on samples that neither was fitted to. Called by api/ for whole models.
#pragma once

#include "core/status.hpp"
#include "core/threads.hpp"
#include "quantize/quantize.hpp"

namespace billfish::quantize {

struct OutputsCompared {
  double error = 0;   // |X (W - V)| / |X W|; 0 where both are 0
  double cosine = 1;  // mean over tokens of the cosine between x W and x V; two zero outputs are alike, one is not
};

// before and after: [n, k]; samples.x is needed. With LAPACK's products where the machine has them, with plain loops otherwise.
Result<OutputsCompared> compare_outputs(const Weights& before, const Weights& after, const Samples& samples, const Parallel& parallel);

}  // namespace billfish::quantize
