// SPDX-License-Identifier: Apache-2.0
// Round to nearest: every group of every row for itself. Called by quantize.cpp; awq.cpp asks for the range alone. Calls engine.hpp.
#pragma once

#include "quantize/form.hpp"

namespace billfish::quantize {

// Fills `out`; clipped: groups whose range was made smaller. What an error costs where scales are chosen: h [k,k], of which the part within
// each group counts (groups of up to 512); else importance [k], one factor a column; else all errors are alike.
Status nearest(Engine& engine, const Matrix& matrix, const float* importance, const float* h, Form& out, std::int64_t& clipped);

// Whether scale_type can hold the scales of a matrix whose largest weight is this.
Status check_scale_range(const Options& options, float largest);

}  // namespace billfish::quantize
