// SPDX-License-Identifier: Apache-2.0
// What a quantised matrix does to weights and to outputs. Called by quantize.cpp; calls engine.hpp.
#pragma once

#include <vector>

#include "quantize/form.hpp"

namespace billfish::quantize {

// Sums of squares, one for every row of W: of its weights and, with samples, of its outputs.
struct Squares {
  std::vector<double> weight, output;
};

// First of the weights themselves, then of what each quantised form of them misses. Outputs: from h [k,k] (the engine's) if given, exactly
// as e H e^T; else from the samples' tokens, if there are any. Both are in order (check_hessian, check_samples). Units are the same for
// all.
Result<std::vector<Squares>> squares_of(Engine& engine, const Matrix& matrix, const std::vector<const Form*>& forms, const float* h,
                                        const Samples& samples);

// Relative, |W - Q| / |W| and |X (W - Q)^T| / |X W^T| in the Frobenius norm; output: -1 without samples.
struct Errors {
  double weight = 0, output = -1;
};
Errors relative(const Squares& missed, const Squares& whole);

}  // namespace billfish::quantize
