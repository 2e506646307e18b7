// SPDX-License-Identifier: Apache-2.0
// Round to nearest: every group of every row for itself. Called by quantize.cpp and awq.cpp; calls grid.hpp.
#pragma once

#include "quantize/quantize.hpp"

namespace billfish::quantize {

// Fills codes, scales, zeros and clipped_groups of `out`. What an error costs where scales are chosen: h [k,k], of which the part within
// each group counts (groups of up to 512); else importance [k], one factor a column; else all errors are alike.
// largest: the largest magnitude among the weights, all of which are finite (largest_weight).
Status nearest(const Options& options, const Weights& weights, const float* importance, float largest, Quantized& out,
               const float* h = nullptr);

// Whether scale_type can hold the scales of a matrix whose largest weight is this.
Status check_scale_range(const Options& options, float largest);

}  // namespace billfish::quantize
