// SPDX-License-Identifier: Apache-2.0
#include "formats/quantize_layer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "core/half.hpp"
#include "formats/float_weights.hpp"
#include "formats/recognise.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

constexpr std::int64_t kMostChecked = 512;  // held-out tokens that the result is checked with

double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A tensor at an address that its elements like: in the map, or copied.
Status aligned(const Model& model, const TensorPlace& place, std::int64_t alignment, Buffer& copy, const void*& out) {
  out = model.data(place);
  if (reinterpret_cast<std::uintptr_t>(out) % static_cast<std::uintptr_t>(alignment) == 0) return {};
  BILLFISH_RETURN_IF_ERROR(copy.reserve(place.tensor->bytes));
  std::memcpy(copy.data(), out, static_cast<std::size_t>(place.tensor->bytes));
  out = copy.data();
  return {};
}

float* floats(const Buffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

double relative_error(const float* before, const float* after, std::int64_t count) {
  double difference = 0, all = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double a = before[i], b = after[i];
    difference += (a - b) * (a - b);
    all += a * a;
  }
  return all > 0 ? std::sqrt(difference / all) : 0.0;
}

// AutoAWQ's list, kept so that the same layers are left alone: what is squared by attention is not clipped.
bool may_clip(std::string_view layer) {
  const std::string_view leaf = layer.substr(layer.rfind('.') + 1);
  for (const std::string_view word : {"q_", "k_", "query", "key", "qkv"}) {
    if (leaf.find(word) != std::string_view::npos) return false;
  }
  return true;
}

}  // namespace

// Samples of the layer's input, every one of them finite. hessian: second moments are wanted, made of X where the file has none.
Status LayerQuantizer::load_samples(const LayerTask& task, bool hessian, InputSamples& out) {
  const LayerInputs& inputs = task.inputs;
  if (!calibration_ || inputs.known() == 0) return {};
  const Model& file = calibration_->model;
  if (samples_of_ != inputs.source) {
    if (inputs.x) BILLFISH_RETURN_IF_ERROR(check_floats(file, *inputs.x, parallel()));
    if (inputs.hessian) BILLFISH_RETURN_IF_ERROR(check_floats(file, *inputs.hessian, parallel()));
    samples_of_ = inputs.source;
  }
  const std::int64_t k = task.shape.k;
  if (inputs.x) {
    out.x_type = *element_type(inputs.x->tensor->dtype);
    BILLFISH_RETURN_IF_ERROR(aligned(file, *inputs.x, bytes_of(out.x_type), x_, out.x));
    out.tokens = inputs.used;
  }
  if (inputs.hessian) {
    const void* data = nullptr;
    BILLFISH_RETURN_IF_ERROR(aligned(file, *inputs.hessian, 4, hessian_, data));
    if (data == hessian_.data()) hessian_of_.clear();
    out.hessian = static_cast<const float*>(data);
    out.count = inputs.count;
  } else if (hessian) {
    if (hessian_of_ != inputs.source) {
      hessian_of_.clear();
      BILLFISH_RETURN_IF_ERROR(hessian_.reserve(k * k * 4));
      hessian_count_ = 0;
      BILLFISH_RETURN_IF_ERROR(options_.functions.hessian(options_.functions.context, out, k, floats(hessian_), hessian_count_));
      hessian_of_ = inputs.source;
    }
    out.hessian = floats(hessian_);
    out.count = hessian_count_;
  }
  return {};
}

// What the layer sees once its input is divided by the scales.
Status LayerQuantizer::scale_samples(const std::vector<float>& scales, const InputSamples& samples, InputSamples& out) {
  const std::int64_t k = static_cast<std::int64_t>(scales.size());
  out = samples;
  if (samples.x) {
    BILLFISH_RETURN_IF_ERROR(scaled_x_.reserve(samples.tokens * k * 4));
    float* const to = floats(scaled_x_);
    parallel().run(samples.tokens, [&](std::int64_t t) {
      for (std::int64_t i = 0; i < k; ++i)
        to[t * k + i] = load_element(samples.x, samples.x_type, t * k + i) / scales[static_cast<std::size_t>(i)];
    });
    out.x = to;
    out.x_type = ElementType::f32;
  }
  if (samples.hessian) {
    BILLFISH_RETURN_IF_ERROR(scaled_hessian_.reserve(k * k * 4));
    float* const to = floats(scaled_hessian_);
    parallel().run(k, [&](std::int64_t row) {
      for (std::int64_t i = 0; i < k; ++i)
        to[row * k + i] = samples.hessian[row * k + i] / (scales[static_cast<std::size_t>(row)] * scales[static_cast<std::size_t>(i)]);
    });
    out.hessian = to;
  }
  return {};
}

Status LayerQuantizer::quantize(const LayerTask& task, const LayerScaling& scaling, const InputSamples& samples, QuantizedLayer& out) {
  const MatrixShape& shape = task.shape;
  const std::int64_t n = shape.n, k = shape.k;
  const std::int64_t zero_bytes = has_zeros(shape.type) ? shape.groups() * n : 0;
  BILLFISH_RETURN_IF_ERROR(codes_.reserve(with_gap(n * k) + with_gap(zero_bytes) + shape.groups() * n * bytes_of(shape.scale_type)));
  std::byte* const at = codes_.data();
  out.parts.codes = reinterpret_cast<std::uint8_t*>(at);
  out.parts.zeros = zero_bytes > 0 ? reinterpret_cast<std::uint8_t*>(at + with_gap(n * k)) : nullptr;
  out.parts.scales = at + with_gap(n * k) + with_gap(zero_bytes);

  MatrixTask job;
  job.method = task.method;
  job.clip = options_.clip && (task.method != QuantizeMethod::awq || may_clip(task.layer->name));
  job.group = shape.group;
  job.weights = {floats(weights_), n, k};
  job.samples = samples;
  const QuantizeFunctions& functions = options_.functions;
  if (!scaling.columns && !scaling.rows) return functions.matrix(functions.context, job, out.parts, out.facts);

  // What it is compared with: round to nearest of the weights as they were.
  MatrixFacts plain;
  if (wants_values()) {
    job.method = QuantizeMethod::nearest;
    job.clip = false;
    BILLFISH_RETURN_IF_ERROR(functions.matrix(functions.context, job, out.parts, plain));
    job.method = task.method;
    job.clip = options_.clip && may_clip(task.layer->name);
  }
  BILLFISH_RETURN_IF_ERROR(scaled_.reserve(n * k * 4));
  const float* const from = floats(weights_);
  float* const to = floats(scaled_);
  parallel().run(n, [&](std::int64_t row) {
    const float below = scaling.rows ? (*scaling.rows)[static_cast<std::size_t>(row)] : 1.0f;
    for (std::int64_t i = 0; i < k; ++i) {
      const float above = scaling.columns ? scaling.columns->scales[static_cast<std::size_t>(i)] : 1.0f;
      to[row * k + i] = from[row * k + i] * above / below;
    }
  });
  job.weights.data = to;
  if (scaling.columns) BILLFISH_RETURN_IF_ERROR(scale_samples(scaling.columns->scales, samples, job.samples));
  BILLFISH_RETURN_IF_ERROR(functions.matrix(functions.context, job, out.parts, out.facts));
  out.facts.nearest_weight_error = plain.nearest_weight_error;
  out.facts.nearest_output_error = plain.nearest_output_error;
  return {};
}

// [k, n] codes -> [n, k] weights, in tiles so that neither side is walked across its lines for long.
void LayerQuantizer::dequantize(const LayerTask& task, const LayerScaling& scaling, const MatrixParts& parts, float* out) const {
  constexpr std::int64_t kTile = 64;
  const MatrixShape& shape = task.shape;
  const std::int64_t n = shape.n, k = shape.k;
  parallel().run(ceil_div(n, kTile), [&](std::int64_t tile) {
    const std::int64_t first = tile * kTile, last = std::min(n, first + kTile);
    for (std::int64_t k0 = 0; k0 < k; k0 += kTile) {
      for (std::int64_t i = k0; i < std::min(k, k0 + kTile); ++i) {
        const std::int64_t group = i / shape.group;
        const float above = scaling.columns ? scaling.columns->scales[static_cast<std::size_t>(i)] : 1.0f;
        for (std::int64_t j = first; j < last; ++j) {
          const float below = scaling.rows ? (*scaling.rows)[static_cast<std::size_t>(j)] : 1.0f;
          const float scale = load_element(parts.scales, shape.scale_type, group * n + j);
          const int zero = parts.zeros ? parts.zeros[group * n + j] : implicit_zero(shape.type);
          out[j * k + i] = scale * static_cast<float>(parts.codes[i * n + j] - zero) / above * below;
        }
      }
    }
  });
}

// The check on samples that nothing was fitted to.
Status LayerQuantizer::compare(const LayerTask& task, QuantizedLayer& out) {
  const LayerInputs& inputs = task.inputs;
  if (!inputs.x || inputs.used == inputs.tokens) return {};
  const std::int64_t k = task.shape.k, n = task.shape.n;
  InputSamples kept;
  kept.x_type = *element_type(inputs.x->tensor->dtype);
  BILLFISH_RETURN_IF_ERROR(aligned(calibration_->model, *inputs.x, bytes_of(kept.x_type), x_, kept.x));
  kept.x = static_cast<const std::byte*>(kept.x) + inputs.used * k * bytes_of(kept.x_type);
  kept.tokens = std::min(kMostChecked, inputs.tokens - inputs.used);
  const FloatMatrix before = {floats(weights_), n, k}, after = {floats(dequantized_), n, k};
  Result<OutputsCompared> compared = options_.functions.compare(options_.functions.context, before, after, kept);
  if (!compared.ok()) return compared.status();
  out.held_out = *compared;
  return {};
}

Status LayerQuantizer::write(const LayerTask& task, const MatrixParts& parts, TensorWriter& writer) {
  QuantizedMatrix raw;
  static_cast<MatrixShape&>(raw) = task.shape;
  raw.format = Format::raw;
  raw.codes = parts.codes;
  raw.zeros = parts.zeros;
  raw.scales = parts.scales;
  PackedMatrix packed;
  const PackFunctions& functions = options_.convert.functions;
  BILLFISH_RETURN_IF_ERROR(place_packed(packed_, task.packed, packed));
  BILLFISH_RETURN_IF_ERROR(functions.pack(raw, packed, parallel()));
  BILLFISH_RETURN_IF_ERROR(unpacked_.make(functions, packed, format_, parallel()));
  return unpacked_.write_new(task.layer->name, task.parts, raw, nullptr, writer);
}

Status LayerQuantizer::run(const LayerTask& task, const LayerScaling& scaling, TensorWriter& writer, QuantizedLayer& out) {
  const double start = seconds_now();
  const std::int64_t n = task.shape.n, k = task.shape.k;
  out.name = task.layer->name;
  out.shape = task.shape;
  out.note = task.note;
  out.bytes_before = task.layer->weight.tensor->bytes;
  for (const FormatPart& part : task.parts) out.bytes_after += part.bytes;
  BILLFISH_RETURN_IF_ERROR(weights_.reserve(n * k * 4));
  BILLFISH_RETURN_IF_ERROR(load_floats(model_, task.layer->weight, floats(weights_), parallel()));
  model_.drop(task.layer->weight);
  InputSamples samples;
  BILLFISH_RETURN_IF_ERROR(load_samples(task, task.method == QuantizeMethod::gptq, samples));
  BILLFISH_RETURN_IF_ERROR(quantize(task, scaling, samples, out));
  BILLFISH_RETURN_IF_ERROR(write(task, out.parts, writer));
  if (wants_values()) {
    BILLFISH_RETURN_IF_ERROR(dequantized_.reserve(n * k * 4));
    dequantize(task, scaling, out.parts, floats(dequantized_));
    if (scaling.columns || scaling.rows) out.facts.weight_error = relative_error(floats(weights_), floats(dequantized_), n * k);
    BILLFISH_RETURN_IF_ERROR(compare(task, out));
    out.weights = floats(weights_);
    out.dequantized = floats(dequantized_);
    out.scales = scaling.columns;
    out.samples = samples;
    if (samples.any()) {
      magnitudes_.assign(static_cast<std::size_t>(k), 0.0f);
      std::vector<double> sums(static_cast<std::size_t>(k), 0.0);
      for (std::int64_t t = 0; samples.x && t < samples.tokens; ++t) {
        for (std::int64_t i = 0; i < k; ++i)
          sums[static_cast<std::size_t>(i)] += std::abs(load_element(samples.x, samples.x_type, t * k + i));
      }
      for (std::int64_t i = 0; i < k; ++i) {
        const std::size_t at = static_cast<std::size_t>(i);
        magnitudes_[at] = samples.x ? static_cast<float>(sums[at] / static_cast<double>(samples.tokens))
                                    : std::sqrt(std::max(0.0f, samples.hessian[i * k + i]) / 2);
      }
      out.magnitudes = magnitudes_.data();
    }
  }
  if (task.inputs.x) calibration_->model.drop(*task.inputs.x);
  if (task.inputs.hessian) calibration_->model.drop(*task.inputs.hessian);
  out.seconds = seconds_now() - start;
  return {};
}

Result<ChannelScales> LayerQuantizer::choose_scales(const std::vector<const LayerTask*>& tasks) {
  std::vector<Buffer> blocks(tasks.size());
  std::vector<FloatMatrix> weights;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const MatrixShape& shape = tasks[i]->shape;
    BILLFISH_RETURN_IF_ERROR(blocks[i].reserve(shape.n * shape.k * 4));
    BILLFISH_RETURN_IF_ERROR(load_floats(model_, tasks[i]->layer->weight, floats(blocks[i]), parallel()));
    model_.drop(tasks[i]->layer->weight);
    weights.push_back({floats(blocks[i]), shape.n, shape.k});
  }
  InputSamples samples;
  BILLFISH_RETURN_IF_ERROR(load_samples(*tasks.front(), false, samples));
  return options_.functions.scales(options_.functions.context, tasks.front()->shape.group, weights, samples);
}

}  // namespace billfish::formats
