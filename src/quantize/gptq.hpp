// SPDX-License-Identifier: Apache-2.0
// GPTQ: round to nearest where every column makes up for what rounding the earlier ones lost. Called by quantize.cpp; calls factor.hpp and
// grid.hpp.
#pragma once

#include "quantize/quantize.hpp"

namespace billfish::quantize {

// Fills codes, scales, zeros, damping, dead_columns and clipped_groups of `out`. h [k,k] is in order (check_hessian), and so are the
// weights, the largest of which is given.
Status gptq(const Options& options, const Weights& weights, const float* h, float largest, Quantized& out);

}  // namespace billfish::quantize
