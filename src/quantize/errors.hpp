// SPDX-License-Identifier: Apache-2.0
// What a quantised matrix does to weights and to outputs. Called by quantize.cpp and awq.cpp; calls linear_algebra.hpp.
#pragma once

#include <vector>

#include "quantize/quantize.hpp"

namespace billfish::quantize {

// Relative, |W - Q| / |W| and |X (W - Q)^T| / |X W^T| in the Frobenius norm; output: -1 without samples.
struct Errors {
  double weight = 0, output = -1;
};

// Errors of several quantised forms of the same weights (type, group and scale type from `options`). Outputs: from h [k,k] if given,
// exactly as tr(E H E^T); else from the samples' tokens, if there are any. Both are in order (check_hessian, check_samples).
Result<std::vector<Errors>> errors_of(const Options& options, const Weights& weights, const std::vector<const Quantized*>& forms,
                                      const float* h, const Samples& samples);

}  // namespace billfish::quantize
