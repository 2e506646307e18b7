// SPDX-License-Identifier: Apache-2.0
// Tensors in f32, f16 or bf16 as f32, every element looked at, and back. Called by quantize_layer.cpp, calibration.cpp and folds.cpp.
#pragma once

#include <cstdint>

#include "core/status.hpp"
#include "core/threads.hpp"
#include "formats/model.hpp"

namespace billfish::formats {

// bad_input naming the first element that is not finite. The tensor is [rows, columns] (a vector: one row), its dtype one of the three.
Status load_floats(const Model& model, const TensorPlace& place, float* out, const Parallel& parallel);
// The same look without a copy.
Status check_floats(const Model& model, const TensorPlace& place, const Parallel& parallel);

}  // namespace billfish::formats
