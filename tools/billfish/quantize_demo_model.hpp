// SPDX-License-Identifier: Apache-2.0
// What `billfish quantize --demo` is about: tensors that look like those of a trained model, and the file that they lie in.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "json.hpp"

namespace billfish::cli {

struct HalfTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<std::uint16_t> halves;
};

std::vector<std::uint16_t> to_f16(const std::vector<float>& values);
std::vector<float> to_f32(const std::uint16_t* halves, std::int64_t count);

// metadata: an object of strings.
void write_safetensors(const std::string& path, const std::deque<HalfTensor>& tensors, const Json& metadata);

// [n, k]: nearly normal, some columns and a few single weights far larger than the rest.
std::vector<float> made_weights(std::int64_t n, std::int64_t k, std::uint64_t seed);

// [tokens, k]: neighbours go together, tokens share a few factors, one channel in a hundred is ten times as large. gated: times
// silu of another number, as between two layers of an MLP.
std::vector<float> made_inputs(std::int64_t tokens, std::int64_t k, bool gated, std::uint64_t seed);

}  // namespace billfish::cli
