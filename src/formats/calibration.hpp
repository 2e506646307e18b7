// SPDX-License-Identifier: Apache-2.0
// The file with samples of what goes into layers. Called by quantize_model.cpp; calls model.cpp.
//
//   <layer>.X      [tokens, k] f32, f16 or bf16   samples; the last eighth is kept aside to check the result with
//   <layer>.H      [k, k] f32                     2 / count * sum of x x^T; with X too, of other tokens than that last eighth
//   <layer>.count  int64 [] or [1]                tokens that H was made of
//   __metadata__.same_input: a JSON object, layer -> the layer whose tensors are its own ("...k_proj": "...q_proj")
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.hpp"
#include "core/threads.hpp"
#include "formats/linear_layers.hpp"
#include "formats/model.hpp"

namespace billfish::formats {

struct LayerInputs {
  std::string source;  // the layer under whose name the tensors lie: layers with the same one share their input
  const TensorPlace* x = nullptr;
  const TensorPlace* hessian = nullptr;
  std::int64_t count = 0;   // of hessian
  std::int64_t tokens = 0;  // of x: all of them
  std::int64_t used = 0;    // of x: those that quantise

  std::int64_t known() const { return count > used ? count : used; }  // tokens that say something
};

class Calibration {
 public:
  static Result<std::unique_ptr<Calibration>> open(const std::string& path);

  // What the file holds of a layer with k inputs; nothing at all is no error. bad_input for what cannot be of that layer.
  Result<LayerInputs> find(const std::string& layer, std::int64_t k) const;
  // bad_input unless it speaks of the layers that are to be quantised: all of them, experts excepted.
  Status check_covers(const std::vector<LinearLayer>& layers) const;

  Model model;

 private:
  Status read_metadata();
  const std::string& source_of(const std::string& layer) const;
  std::map<std::string, std::string, std::less<>> same_input_;
};

}  // namespace billfish::formats
