// SPDX-License-Identifier: Apache-2.0
// billfish_quantize_model: formats/ walks over the model, with the functions of quantize/ and pack/ handed in.
#include "formats/quantize_model.hpp"

#include <cinttypes>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "api/arguments.hpp"
#include "api/pack_functions.hpp"
#include "api/quantize_arguments.hpp"
#include "billfish/billfish_quantize.h"
#include "quantize/compare_outputs.hpp"
#include "quantize/quantize.hpp"

namespace billfish::api {
namespace {

using formats::InputSamples;
using formats::QuantizeMethod;

static_assert(static_cast<int>(QuantizeMethod::nearest) == static_cast<int>(quantize::Method::nearest));
static_assert(static_cast<int>(QuantizeMethod::gptq) == static_cast<int>(quantize::Method::gptq));
static_assert(static_cast<int>(QuantizeMethod::awq) == static_cast<int>(quantize::Method::awq));

quantize::Samples samples_of(const InputSamples& given, std::int64_t k) {
  quantize::Samples out;
  out.x = given.x;
  out.x_type = given.x_type;
  out.tokens = given.tokens;
  out.ld = k;
  out.hessian = given.hessian;
  out.count = given.count;
  return out;
}

quantize::Weights weights_of(const formats::FloatMatrix& matrix) { return {matrix.data, matrix.n, matrix.k, matrix.k}; }

// What all layers share; a task says the rest.
const quantize::Options& shared(const void* context) { return *static_cast<const quantize::Options*>(context); }

Status quantize_one(const void* context, const formats::MatrixTask& task, const formats::MatrixParts& parts, formats::MatrixFacts& facts) {
  quantize::Options options = shared(context);
  options.method = static_cast<quantize::Method>(task.method);
  options.clip = task.clip;
  options.group = task.group;
  quantize::Quantized out;
  out.codes = parts.codes;
  out.zeros = parts.zeros;
  out.scales = parts.scales;
  BILLFISH_RETURN_IF_ERROR(quantize::quantize_matrix(options, weights_of(task.weights), samples_of(task.samples, task.weights.k), out));
  facts.weight_error = out.weight_error;
  facts.output_error = out.output_error;
  facts.nearest_weight_error = out.nearest_weight_error;
  facts.nearest_output_error = out.nearest_output_error;
  facts.damping = out.damping;
  facts.dead_columns = out.dead_columns;
  facts.clipped_groups = out.clipped_groups;
  return {};
}

Status add_to_hessian(const void* context, const InputSamples& samples, std::int64_t k, float* h, std::int64_t& count) {
  return quantize::hessian_add(samples.x, samples.x_type, samples.tokens, k, k, h, count, shared(context).parallel, shared(context).engine);
}

Result<formats::ChannelScales> channel_scales(const void* context, std::int64_t group, const std::vector<formats::FloatMatrix>& matrices,
                                              const InputSamples& samples) {
  quantize::Options options = shared(context);
  options.group = group;
  std::vector<quantize::Weights> weights;
  for (const formats::FloatMatrix& matrix : matrices) weights.push_back(weights_of(matrix));
  Result<quantize::AwqScales> found = quantize::awq_scales(options, weights, samples_of(samples, matrices.front().k));
  if (!found.ok()) return found.status();
  return formats::ChannelScales{std::move(found->scales), std::move(found->losses), found->best};
}

Result<formats::OutputsCompared> compare(const void* context, const formats::FloatMatrix& before, const formats::FloatMatrix& after,
                                         const InputSamples& samples) {
  const Result<quantize::OutputsCompared> found =
      quantize::compare_outputs(weights_of(before), weights_of(after), samples_of(samples, before.k), shared(context).parallel);
  if (!found.ok()) return found.status();
  return formats::OutputsCompared{found->error, found->cosine};
}

using LayerDone = void (*)(void* user, const billfish_quantize_layer* layer);

void show_layer(void* user, const formats::QuantizedLayer& layer, void* caller) {
  billfish_quantized quantized = BILLFISH_QUANTIZED_INIT;
  quantized.codes = layer.parts.codes;
  quantized.zeros = layer.parts.zeros;
  quantized.scales = layer.parts.scales;
  quantized.weight_error = layer.facts.weight_error;
  quantized.output_error = layer.facts.output_error;
  quantized.nearest_weight_error = layer.facts.nearest_weight_error;
  quantized.nearest_output_error = layer.facts.nearest_output_error;
  quantized.damping = layer.facts.damping;
  quantized.dead_columns = layer.facts.dead_columns;
  quantized.clipped_groups = layer.facts.clipped_groups;
  billfish_samples samples = BILLFISH_SAMPLES_INIT;
  samples.x = layer.samples.x;
  samples.x_type = static_cast<billfish_element_type>(layer.samples.x_type);
  samples.tokens = layer.samples.tokens;
  samples.hessian = layer.samples.hessian;
  samples.count = layer.samples.count;
  billfish_quantize_layer out = {};
  out.size = sizeof out;
  out.name = layer.name.c_str();
  out.n = layer.shape.n;
  out.k = layer.shape.k;
  out.group = layer.shape.group;
  out.type = static_cast<billfish_weight_type>(layer.shape.type);
  out.quantized = &quantized;
  out.weights = layer.weights;
  out.dequantized = layer.dequantized;
  out.magnitudes = layer.magnitudes;
  if (layer.scales != nullptr) {
    out.awq_scales = layer.scales->scales.data();
    out.awq_losses = layer.scales->losses.data();
  }
  out.samples = layer.samples.any() ? &samples : nullptr;
  out.held_out_error = layer.held_out.error;
  out.held_out_cosine = layer.held_out.cosine;
  out.seconds = layer.seconds;
  out.bytes_before = layer.bytes_before;
  out.bytes_after = layer.bytes_after;
  out.note = layer.note.c_str();
  (*static_cast<const LayerDone*>(caller))(user, &out);
}

Status quantize_model(const char* in, const char* target, const billfish_quantize_model_options* given) {
  if (in == nullptr) return null_argument("in");
  if (target == nullptr) return null_argument("out");
  billfish_quantize_model_options options;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, "options", options));
  BILLFISH_RETURN_IF_ERROR(check_reserved("options->reserved", options.reserved));
  if (options.format == nullptr) return null_argument("options->format");
  quantize::Options matrix;
  BILLFISH_RETURN_IF_ERROR(read_quantize_options(&options.matrix, 0, matrix));
  std::unique_ptr<quantize::Engine> engine;
  if (options.dry_run == 0) BILLFISH_RETURN_IF_ERROR(read_quantize_device(&options.matrix, engine, matrix));
  LayerDone done = options.layer_done;

  formats::QuantizeOptions out;
  out.functions = {&matrix, quantize_one, add_to_hessian, channel_scales, compare};
  out.convert.functions = pack_functions();
  out.convert.want_layer = options.want_layer;
  out.convert.skip_unsupported = options.skip_unsupported != 0;
  out.convert.progress = options.progress;
  out.convert.user = options.user;
  out.convert.parallel = matrix.parallel;
  out.method = static_cast<QuantizeMethod>(matrix.method);
  out.type = matrix.type;
  out.scale_type = matrix.scale_type;
  out.group = options.matrix.group;
  out.clip = matrix.clip;
  out.format = options.format;
  out.calibration = options.calibration != nullptr ? options.calibration : "";
  out.no_fold = options.no_fold != 0;
  out.resume = options.resume != 0;
  out.dry_run = options.dry_run != 0;
  // Numbers in hexadecimal, so that different ones look different.
  char identity[192];
  std::snprintf(identity, sizeof identity, "version=%s order=%d clip=%d damping=%a seed=%" PRIu64 " device=%s", billfish_version_string(),
                static_cast<int>(matrix.act_order), matrix.clip ? 1 : 0, matrix.damping, matrix.seed,
                matrix.engine != nullptr ? "cuda" : "cpu");
  out.identity = identity;
  out.planned = options.layer_planned;
  if (done != nullptr) out.layer_done = show_layer;
  out.api = &done;
  return formats::quantize_model(in, target, out);
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_quantize_model(const char* in, const char* out, const billfish_quantize_model_options* options) {
  return billfish::api::guarded([&] { return billfish::api::quantize_model(in, out, options); });
}

}  // extern "C"
