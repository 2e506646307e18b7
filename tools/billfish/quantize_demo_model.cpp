// SPDX-License-Identifier: Apache-2.0
#include "quantize_demo_model.hpp"

#include <cmath>

#include "billfish/billfish_tools.h"
#include "files.hpp"
#include "random.hpp"

namespace billfish::cli {
namespace {

constexpr float kSpread = 0.02f;  // of the weights: about what trained layers have
constexpr int kFactors = 24;      // that tokens have in common: real activations are far from white

}  // namespace

std::vector<std::uint16_t> to_f16(const std::vector<float>& values) {
  std::vector<std::uint16_t> halves(values.size());
  billfish_tools_from_f32(values.data(), BILLFISH_F16, halves.data(), static_cast<std::int64_t>(values.size()));
  return halves;
}
std::vector<float> to_f32(const std::uint16_t* halves, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  billfish_tools_to_f32(halves, BILLFISH_F16, values.data(), count);
  return values;
}

void write_safetensors(const std::string& path, const std::deque<HalfTensor>& tensors, const Json& metadata) {
  Json header = {{"__metadata__", metadata}};
  std::size_t offset = 0;
  for (const HalfTensor& tensor : tensors) {
    const std::size_t bytes = tensor.halves.size() * 2;
    header[tensor.name] = {{"dtype", "F16"}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = text_of_json(header);
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i));
  OutputFile file(path);
  file.write(length.data(), length.size());
  file.write(text.data(), text.size());
  for (const HalfTensor& tensor : tensors) file.write(tensor.halves.data(), tensor.halves.size() * 2);
  file.commit();
}

std::vector<float> made_weights(std::int64_t n, std::int64_t k, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> gains(static_cast<std::size_t>(k)), weights(static_cast<std::size_t>(n * k));
  for (float& gain : gains) gain = kSpread * std::exp(0.2f * random.normal()) * (random.bits() % 128 == 0 ? 4.0f : 1.0f);
  for (std::int64_t i = 0; i < n * k; ++i) {
    weights[static_cast<std::size_t>(i)] =
        gains[static_cast<std::size_t>(i % k)] * random.normal() * (random.bits() % 1024 == 0 ? 4.0f : 1.0f);
  }
  return weights;
}

std::vector<float> made_inputs(std::int64_t tokens, std::int64_t k, bool gated, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> gains(static_cast<std::size_t>(k)), mix(static_cast<std::size_t>(kFactors * k)),
      x(static_cast<std::size_t>(tokens * k));
  for (float& gain : gains) gain = std::exp(0.5f * random.normal()) * (random.bits() % 100 == 0 ? 10.0f : 1.0f);
  for (float& part : mix) part = random.normal() * 0.7f / std::sqrt(static_cast<float>(kFactors));
  for (std::int64_t t = 0; t < tokens; ++t) {
    float factors[kFactors], before = 0;
    for (float& factor : factors) factor = random.normal();
    for (std::int64_t j = 0; j < k; ++j) {
      before = 0.7f * before + 0.714f * random.normal();
      float value = 0.7f * before;
      for (std::int64_t f = 0; f < kFactors; ++f) value += factors[f] * mix[static_cast<std::size_t>(f * k + j)];
      if (gated) {
        const float gate = random.normal() + 0.5f;
        value *= gate / (1 + std::exp(-gate));
      }
      x[static_cast<std::size_t>(t * k + j)] = value * gains[static_cast<std::size_t>(j)];
    }
  }
  return x;
}

}  // namespace billfish::cli
