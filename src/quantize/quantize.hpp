// SPDX-License-Identifier: Apache-2.0
// Weights in f32 -> codes, scales and zeros, one matrix at a time. Called by api/, and through it by formats/ for whole models. Calls
// linear_algebra.hpp, which finds LAPACK at run time, or the engine of a device that api/ hands in. Results do not depend on the number of
// threads: work is cut by shape alone.
//
//   nearest.cpp  round to nearest
//   gptq.cpp     error feedback through H = (I + U) D (I + U)^T: no inverse is taken
//   refine.cpp   what it leaves to gain
//   awq.cpp      the search for scales of channels
//   hessian.cpp  second moments of samples, in f32
//   errors.cpp   what a quantised matrix does to weights and outputs
//   engine.hpp   the arithmetic that these ask for, done by the CPU (cpu_engine*.cpp) or by a CUDA device (cuda/quantize/)
//   grid.cpp     scale and zero of one group, with or without the search for a smaller range (grid_search.hpp)
#pragma once

#include <cstdint>
#include <vector>

#include "core/status.hpp"
#include "core/threads.hpp"
#include "core/types.hpp"

namespace billfish::quantize {

class Engine;

enum class Method : std::uint8_t { nearest, gptq, awq };       // values match billfish_quantize_method
enum class ActOrder : std::uint8_t { none, fixed, by_group };  // values match billfish_act_order

struct Options {
  Method method = Method::nearest;
  WeightType type = WeightType::u4b8;
  std::int64_t group = 128;  // resolved: 1 <= group <= k
  ElementType scale_type = ElementType::f16;
  ActOrder act_order = ActOrder::none;
  bool clip = false;
  double damping = 0.01;
  int rounds = 3;  // GPTQ: of refinement (refine.hpp) at most; 0 leaves the codes as the papers' recursion finds them
  std::uint64_t seed = 0;
  Parallel parallel;
  Engine* engine = nullptr;  // null: the CPU
};

struct Weights {  // [n, k]
  const float* data = nullptr;
  std::int64_t n = 0, k = 0, ld = 0;
};

struct Samples {            // either part may be missing
  const void* x = nullptr;  // [tokens, k]
  ElementType x_type = ElementType::f32;
  std::int64_t tokens = 0, ld = 0;
  const float* hessian = nullptr;  // [k, k]
  std::int64_t count = 0;
  bool any() const { return x != nullptr || hessian != nullptr; }
};

struct Quantized {
  std::uint8_t* codes = nullptr;  // [k, n]
  std::uint8_t* zeros = nullptr;  // [groups, n]; null for symmetric types
  void* scales = nullptr;         // [groups, n]
  double weight_error = -1, output_error = -1, nearest_weight_error = -1, nearest_output_error = -1;
  double damping = 0;
  std::int64_t dead_columns = 0, clipped_groups = 0;
};

// The whole job of one matrix, errors included.
Status quantize_matrix(const Options& options, const Weights& weights, const Samples& samples, Quantized& out);

// h [k,k] and count become those of all tokens so far.
Status hessian_add(const void* x, ElementType type, std::int64_t tokens, std::int64_t k, std::int64_t ld, float* h, std::int64_t& count,
                   const Parallel& parallel, Engine* engine = nullptr);

struct AwqScales {
  std::vector<float> scales;   // [k]
  std::vector<double> losses;  // one a ratio, that of no scaling first
  std::int64_t best = 0;
};
Result<AwqScales> awq_scales(const Options& options, const std::vector<Weights>& weights, const Samples& samples);

}  // namespace billfish::quantize
