// SPDX-License-Identifier: Apache-2.0
// GPTQ: round to nearest where every column makes up for what rounding the earlier ones lost. Called by quantize.cpp; calls factor.hpp,
// refine.hpp and engine.hpp.
#pragma once

#include <vector>

#include "quantize/form.hpp"

namespace billfish::quantize {

// Fills `form`, and damping, dead_columns and clipped_groups of `out`. h [k,k] is in order (check_hessian); its diagonal is given in host
// memory too.
Status gptq(Engine& engine, const Options& options, const Matrix& matrix, const float* h, const std::vector<float>& diagonal, Form& form,
            Quantized& out);

}  // namespace billfish::quantize
