// SPDX-License-Identifier: Apache-2.0
// One layer of a float model: weights and samples from their files, codes by the functions of quantize/, tensors of the format to the
// writer, and what is to be known about it. Called by quantize_model.cpp for one layer after another; its buffers grow to the largest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "formats/calibration.hpp"
#include "formats/convert_steps.hpp"
#include "formats/format_parts.hpp"
#include "formats/linear_layers.hpp"
#include "formats/quantize_model.hpp"
#include "formats/tensor_writer.hpp"

namespace billfish::formats {

struct LayerTask {
  const LinearLayer* layer = nullptr;
  MatrixShape shape;
  PackedBytes packed;
  std::vector<FormatPart> parts;
  LayerInputs inputs;
  QuantizeMethod method = QuantizeMethod::nearest;  // what is done, as `note` explains where it is not what was asked for
  std::string note;
};

// AWQ: w[n][k] becomes w * columns[k] / rows[n]; null: as it is.
struct LayerScaling {
  const ChannelScales* columns = nullptr;
  const std::vector<float>* rows = nullptr;
};

class LayerQuantizer {
 public:
  LayerQuantizer(const Model& model, const Calibration* calibration, const QuantizeOptions& options, Format format)
      : model_(model), calibration_(calibration), options_(options), format_(format) {}

  Status run(const LayerTask& task, const LayerScaling& scaling, TensorWriter& writer, QuantizedLayer& out);
  // AWQ's scales for layers that share the first one's input.
  Result<ChannelScales> choose_scales(const std::vector<const LayerTask*>& tasks);

 private:
  Status load_samples(const LayerTask& task, bool hessian, InputSamples& out);
  Status scale_samples(const std::vector<float>& scales, const InputSamples& samples, InputSamples& out);
  Status quantize(const LayerTask& task, const LayerScaling& scaling, const InputSamples& samples, QuantizedLayer& out);
  void dequantize(const LayerTask& task, const LayerScaling& scaling, const MatrixParts& parts, float* out) const;
  Status compare(const LayerTask& task, QuantizedLayer& out);
  Status write(const LayerTask& task, const MatrixParts& parts, TensorWriter& writer);
  bool wants_values() const { return options_.layer_done != nullptr; }
  const Parallel& parallel() const { return options_.convert.parallel; }

  const Model& model_;
  const Calibration* calibration_;
  const QuantizeOptions& options_;
  Format format_;
  Buffer weights_, scaled_, codes_, packed_, dequantized_;
  Unpacked unpacked_;
  Buffer x_, hessian_, scaled_x_, scaled_hessian_;
  std::string samples_of_, hessian_of_;  // whose samples have been looked at; whose second moments hessian_ holds
  std::int64_t hessian_count_ = 0;
  std::vector<float> magnitudes_;
};

}  // namespace billfish::formats
