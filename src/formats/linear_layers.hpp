// SPDX-License-Identifier: Apache-2.0
// Which matrices of a model in f32, f16 or bf16 are linear layers that may be quantised, by the names that models give them, and why the
// others are not. Called by quantize_model.cpp; calls model.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "formats/model.hpp"

namespace billfish::formats {

inline constexpr std::string_view kNotAsked = "not asked for";  // why a layer is left that `want` does not want

struct LinearLayer {
  std::string name;  // "model.layers.0.mlp.up_proj": the tensor's without ".weight"
  TensorPlace weight;
  std::int64_t n = 0, k = 0;
  bool linear = true;  // false: an embedding, a norm, fused experts: no layer that a quantised one could stand for
  std::string left;    // why it stays as it is; "" if it will be quantised
};

// want: null takes every linear layer but heads and routers; else it has the last word on linear ones.
struct LayerChoice {
  int (*want)(void* user, const char* layer) = nullptr;
  void* user = nullptr;
};

// Every matrix in f32, f16 or bf16, in natural order of the names.
std::vector<LinearLayer> find_linear_layers(const Model& model, const LayerChoice& choice);

// A member of config.json (or of its text_config), as it is written, quotes excluded; "" if there is none.
std::string config_word(const Model& model, std::string_view member);

// Why no reader of the format could take this shape; "" if it can. Stricter than what this library reads.
std::string why_not_new(Format format, const MatrixShape& shape, std::int64_t group);

bool is_expert(std::string_view layer);  // one of a mixture: it sees only some of the tokens

}  // namespace billfish::formats
