// SPDX-License-Identifier: Apache-2.0
// Elements of C by the definition, one product after the other in double: for the columns and rows whose scales or activations are not
// finite, where a sum times a scale is not the sum of scaled products. Called by run.cpp; calls layout/.
#pragma once

#include <cstdint>

#include "core/matrix.hpp"
#include "gemm/problem.hpp"

namespace billfish::cpu {

// Rows [m0, m1), columns [n0, n1).
void multiply_exactly(const gemm::Problem&, const gemm::Call&, std::int64_t m0, std::int64_t m1, std::int64_t n0, std::int64_t n1);

float bias_at(const PackedMatrix&, std::int64_t n);

}  // namespace billfish::cpu
