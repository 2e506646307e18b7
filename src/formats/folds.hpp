// SPDX-License-Identifier: Apache-2.0
// AWQ multiplies the columns of layers that share an input by scales, so what makes that input has to divide by them: a norm's weight, or
// the rows of the linear layer before it. Which tensor that is follows from the kind of model and the names. Called by quantize_model.cpp.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/status.hpp"
#include "formats/linear_layers.hpp"
#include "formats/model.hpp"

namespace billfish::formats {

struct Fold {
  std::vector<std::size_t> layers;  // which share an input: indexes of find_linear_layers
  std::string into;                 // the module that divides; "" if the scales must be 1
  bool plus_one = false;            // a norm that multiplies by 1 + weight
  std::string why_not;              // why `into` is empty
  bool refused = false;             // ... although a layer of that kind usually has one
};

// One for every layer that will be quantised.
std::vector<Fold> find_folds(const Model& model, const std::vector<LinearLayer>& layers);

// A vector, or the rows of a matrix, of `count` elements. plus_one: (1 + w) / s - 1.
void divide_by(const std::vector<float>& scales, bool plus_one, float* values, std::int64_t count);

}  // namespace billfish::formats
