// SPDX-License-Identifier: Apache-2.0
// Layers of any checkpoint, through their packed form, into tensors of another format, with the configs that its readers look for.
#include "formats/transcode.hpp"

#include <map>

#include "formats/convert_steps.hpp"
#include "formats/format_parts.hpp"
#include "formats/load.hpp"
#include "formats/rewrite.hpp"
#include "formats/tensor_writer.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

struct LayerPlan {
  LayerNumbers numbers;
  PackedBytes packed;  // of a layer that is not packed yet
  std::vector<FormatPart> parts;
};

class Transcoding final : public Rewrite {
 public:
  Transcoding(const OpenCheckpoint& checkpoint, Format format, const ConvertOptions& options)
      : Rewrite(checkpoint, options), format_(format) {}

  Status plan() {
    std::vector<LayerNumbers> all;
    for (const Layer& layer : recognised_.layers) {
      if (!layer.info.supported && options_.skip_unsupported) continue;
      BILLFISH_RETURN_IF_ERROR(about_layer(plan_layer(layer), layer.info.name));
      all.push_back(plans_.at(&layer).numbers);
    }
    Result<std::string> config = make_quant_config(format_, all);
    if (!config.ok()) return config.status();
    config_ = std::move(*config);
    if (recognised_.packed.empty()) return {};
    for (const Shard& shard : model_.shards) {
      for (const Tensor& tensor : shard.header.tensors) {
        if (tensor.name.starts_with(kEmptyShardPrefix)) take(&tensor, nullptr);
      }
    }
    return {};
  }

 private:
  Status plan_layer(const Layer& layer) {
    if (!layer.info.supported) return unsupported(layer.info.reason);
    if (const std::string reason = why_not(format_, layer.shape, layer.info.act_order); !reason.empty()) return unsupported(reason);
    Copies copies;
    Result<QuantizedMatrix> matrix = load_layer(model_, layer, copies, 1);
    if (!matrix.ok()) return matrix.status();
    if (const std::string reason = why_not(format_, *matrix, layer.info.act_order); !reason.empty()) return unsupported(reason);
    LayerPlan& plan = plans_[&layer];
    plan.numbers = {layer.info.name, *matrix, layer.info.group, layer.info.act_order};
    plan.parts = new_parts(format_, *matrix, layer.info.act_order, matrix->bias != nullptr, matrix->bias_type);
    if (!layer.packed) {
      Result<PackedBytes> bytes = options_.functions.sizes(*matrix);
      if (!bytes.ok()) return bytes.status();
      plan.packed = *bytes;
    }
    for (const Part& part : layer.parts) {
      if (part.role == Role::other) continue;
      take(part.place.tensor, &layer);
      model_.drop(part.place);
      // What was kept of the source for its own format has no place in another one.
      if (!layer.packed) continue;
      for (const FormatPart& source : format_parts(layer.source, layer.shape, ElementType::f16)) {
        if (const TensorPlace* kept = model_.find(source_tensor_name(layer.info.name, source.suffix))) take(kept->tensor, nullptr);
      }
    }
    return {};
  }

  Status plan_file(std::size_t s, TensorWriter& writer) override {
    const Shard& shard = model_.shards[s];
    NewFile file;
    file.name = shard.name;
    for (const Tensor& tensor : shard.header.tensors) {
      if (!is_taken(tensor)) {
        file.tensors.push_back(tensor);
      } else if (const Layer* layer = layer_at(tensor)) {
        for (const FormatPart& part : plans_.at(layer).parts) {
          file.tensors.push_back({tensor_name(layer->info.name, part.suffix), part.dtype, part.shape, part.bytes});
        }
      }
    }
    for (const auto& [key, value] : shard.header.metadata) {
      if (!is_packed_key(key) && key != "quantization_config") file.metadata.emplace_back(key, value);
    }
    if (!shard.header.find_metadata("format")) file.metadata.emplace_back("format", "pt");
    file.metadata.emplace_back("quantization_config", config_);
    return writer.add(std::move(file));
  }

  Status write_layer(const Layer& layer, TensorWriter& writer) override {
    const LayerPlan& plan = plans_.at(&layer);
    Copies copies;
    Result<QuantizedMatrix> matrix = load_layer(model_, layer, copies, 1);
    if (!matrix.ok()) return matrix.status();
    PackedMatrix packed = packed_view(*matrix);
    if (!layer.packed) {
      BILLFISH_RETURN_IF_ERROR(place_packed(buffer_, plan.packed, packed));
      BILLFISH_RETURN_IF_ERROR(options_.functions.pack(*matrix, packed, options_.parallel));
    }
    BILLFISH_RETURN_IF_ERROR(unpacked_.make(options_.functions, packed, format_, options_.parallel));
    return unpacked_.write_new(layer.info.name, plan.parts, *matrix, matrix->bias, writer);
  }

  std::vector<WrittenConfig> new_configs() const override { return replace_configs(model_, config_, format_); }
  std::vector<std::string> outdated_configs() const override {  // they speak of another format
    std::vector<std::string> out;
    for (const ConfigText& config : model_.quant_configs) out.push_back(config.name);
    return out;
  }

  Format format_;
  std::map<const Layer*, LayerPlan> plans_;
  std::string config_;
  Buffer buffer_;
  Unpacked unpacked_;
};

}  // namespace

Status transcode(const OpenCheckpoint& checkpoint, const std::string& out, Format format, const ConvertOptions& options) {
  Transcoding transcoding(checkpoint, format, options);
  BILLFISH_RETURN_IF_ERROR(transcoding.plan());
  return transcoding.write(out);
}

}  // namespace billfish::formats
