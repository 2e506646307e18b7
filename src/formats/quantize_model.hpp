// SPDX-License-Identifier: Apache-2.0
// A model in f32, f16 or bf16 -> a checkpoint with 4- or 8-bit layers. Called by api/, which hands in the functions of quantize/ and
// pack/ (formats/ knows bytes on disk, neither arithmetic nor layouts). Layer by layer: memory is bounded by the largest layer's needs.
//
//   linear_layers.cpp     which matrices of a model are linear layers to quantise, and why others are not
//   calibration.cpp       the file with samples of layers' inputs
//   folds.cpp             AWQ: which layers share an input, and which tensor before them takes the inverse of their scales
//   quantize_layer.cpp    one layer: weights and samples in, codes to the writer, facts out
//   unfinished.cpp        what survives an interruption, and how the next run goes on with it
//   quantize_model.cpp    the walk
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.hpp"
#include "core/threads.hpp"
#include "core/types.hpp"
#include "formats/convert.hpp"

namespace billfish::formats {

enum class QuantizeMethod : std::uint8_t { nearest, gptq, awq };  // values match billfish_quantize_method

struct FloatMatrix {  // [n, k]
  const float* data = nullptr;
  std::int64_t n = 0, k = 0;
};

// What is known of the inputs of a layer; either part may be missing.
struct InputSamples {
  const void* x = nullptr;  // [tokens, k]
  ElementType x_type = ElementType::f32;
  std::int64_t tokens = 0;
  const float* hessian = nullptr;  // [k, k]
  std::int64_t count = 0;
  bool any() const { return x != nullptr || hessian != nullptr; }
};

struct MatrixTask {
  QuantizeMethod method = QuantizeMethod::nearest;
  bool clip = false;
  std::int64_t group = 0;  // resolved
  FloatMatrix weights;
  InputSamples samples;
};

struct MatrixParts {
  std::uint8_t* codes = nullptr;  // [k, n]
  std::uint8_t* zeros = nullptr;  // [groups, n]; null for symmetric types
  void* scales = nullptr;         // [groups, n]
};

// Errors are relative; -1 (cosine: -2) where nobody could know.
struct MatrixFacts {
  double weight_error = -1, output_error = -1, nearest_weight_error = -1, nearest_output_error = -1;
  double damping = 0;
  std::int64_t dead_columns = 0, clipped_groups = 0;
};

struct ChannelScales {         // AWQ's choice for the layers that share an input
  std::vector<float> scales;   // [k]
  std::vector<double> losses;  // by ratio, that of no scaling first
  std::int64_t best = 0;
};

struct OutputsCompared {
  double error = -1, cosine = -2;
};

// What quantising needs of quantize/. `context` is the caller's own; it holds what all layers share (type, scale type, order, seed).
struct QuantizeFunctions {
  const void* context = nullptr;
  Status (*matrix)(const void* context, const MatrixTask& task, const MatrixParts& parts, MatrixFacts& facts) = nullptr;
  // h [k, k] and count become those of all tokens so far.
  Status (*hessian)(const void* context, const InputSamples& samples, std::int64_t k, float* h, std::int64_t& count) = nullptr;
  Result<ChannelScales> (*scales)(const void* context, std::int64_t group, const std::vector<FloatMatrix>& weights,
                                  const InputSamples& samples) = nullptr;
  // Outputs of `after` on samples.x against those of `before`.
  Result<OutputsCompared> (*compare)(const void* context, const FloatMatrix& before, const FloatMatrix& after,
                                     const InputSamples& samples) = nullptr;
};

// A finished layer, shown to whoever asked. Pointers are null for a layer that an interrupted run had finished.
struct QuantizedLayer {
  std::string name;
  MatrixShape shape;
  MatrixFacts facts;
  OutputsCompared held_out;
  double seconds = 0;
  std::int64_t bytes_before = 0, bytes_after = 0;
  std::string note;
  MatrixParts parts;
  const float* weights = nullptr;         // [n, k]
  const float* dequantized = nullptr;     // [n, k], AWQ's scales divided out
  const float* magnitudes = nullptr;      // [k]
  const ChannelScales* scales = nullptr;  // AWQ
  InputSamples samples;
};

struct QuantizeOptions {
  QuantizeFunctions functions;
  ConvertOptions convert;  // packer, want_layer (null: linear layers by name), skip_unsupported, progress, user, parallel
  QuantizeMethod method = QuantizeMethod::nearest;
  WeightType type = WeightType::u4b8;
  ElementType scale_type = ElementType::f16;
  std::int64_t group = 128;  // as asked: -1 is one group
  bool clip = false;
  std::string format;       // as write_checkpoint names them
  std::string calibration;  // a path, or "" (nearest alone)
  bool no_fold = false;     // AWQ: a layer whose scales have no place to go keeps s = 1 instead of being refused
  bool resume = false;
  bool dry_run = false;
  std::string identity;  // what else decides the bytes: order, clip, seed, version. One line; resuming compares it
  void (*planned)(void* user, const char* layer, std::int64_t n, std::int64_t k, const char* left) = nullptr;
  void (*layer_done)(void* user, const QuantizedLayer& layer, void* api) = nullptr;
  void* api = nullptr;  // for layer_done
};

// `out` is a directory.
Status quantize_model(const std::string& in, const std::string& out, const QuantizeOptions& options);

}  // namespace billfish::formats
