// SPDX-License-Identifier: Apache-2.0
// Second moments of samples. Called by quantize.cpp, errors.cpp and awq_inputs.cpp; calls engine.hpp.
#pragma once

#include <vector>

#include "quantize/engine.hpp"
#include "quantize/panel.hpp"
#include "quantize/quantize.hpp"

namespace billfish::quantize {

// Samples whose magnitude is beyond this are refused: sums of their squares leave f32.
constexpr float kLargestSample = 1e17f;

// Refuses the first sample that is not finite or beyond kLargestSample.
Status check_samples(const Samples& samples, std::int64_t k, const Parallel& parallel);

// Tokens [first, first + count) as f32, [count, k]; the samples lie where they are when they are f32 already.
struct SampleRows {
  const float* data = nullptr;
  std::int64_t ld = 0;
};
SampleRows sample_rows(const Samples& samples, std::int64_t k, std::int64_t first, std::int64_t count, Buffer<float>& space,
                       const Parallel& parallel);

// f16 or bf16 tokens as f32, [tokens, k].
void widen_rows(const TokenBlock& block, float* to, const Parallel& parallel);

// h [k,k] of the engine, made of `count` tokens (0: it may hold anything), becomes that of the samples too. They are in order
// (check_samples).
Status add_samples(Engine& engine, const Samples& samples, std::int64_t k, float* h, std::int64_t count);

// Refuses a matrix of second moments that has an element that is not finite, or a negative diagonal element.
Status check_hessian(const float* h, std::int64_t k, const Parallel& parallel);

// The diagonal of H: 2 / tokens * sum of x^2 (f64 sums of f32 squares). Samples are finite (check_samples).
std::vector<float> hessian_diagonal(const Samples& samples, std::int64_t k, const Parallel& parallel);

}  // namespace billfish::quantize
