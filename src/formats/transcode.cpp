// SPDX-License-Identifier: Apache-2.0
// Layers of any checkpoint, through their packed form, into tensors of another format, with the configs that its readers look for.
#include "formats/transcode.hpp"

#include <map>

#include "formats/convert_steps.hpp"
#include "formats/format_parts.hpp"
#include "formats/load.hpp"
#include "formats/output.hpp"
#include "formats/tensor_writer.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

struct LayerPlan {
  const Layer* layer = nullptr;
  LayerNumbers numbers;
  PackedBytes packed;  // of a layer that is not packed yet
  std::vector<FormatPart> parts;
};

class Transcoding {
 public:
  Transcoding(const OpenCheckpoint& checkpoint, Format format, const ConvertOptions& options)
      : model_(checkpoint.model), recognised_(checkpoint.recognised), format_(format), options_(options) {}

  Status plan() {
    std::vector<LayerNumbers> all;
    for (const Layer& layer : recognised_.layers) {
      if (!layer.info.supported && options_.skip_unsupported) continue;
      BILLFISH_RETURN_IF_ERROR(about_layer(plan_layer(layer), layer.info.name));
      all.push_back(plans_.back().numbers);
    }
    Result<std::string> config = make_quant_config(format_, all);
    if (!config.ok()) return config.status();
    config_ = std::move(*config);
    return {};
  }

  Status write(const std::string& out) {
    StagedOutput output;
    BILLFISH_RETURN_IF_ERROR(output.begin(out, model_.is_directory));
    TensorWriter writer(output);
    for (std::size_t s = 0; s < model_.shards.size(); ++s) BILLFISH_RETURN_IF_ERROR(writer.add(plan_file(s)));
    BILLFISH_RETURN_IF_ERROR(writer.create_all());
    Progress progress{options_.progress, options_.user, 0, total_bytes(model_)};
    for (std::size_t s = 0; s < model_.shards.size(); ++s) BILLFISH_RETURN_IF_ERROR(write_shard(s, writer, progress));
    BILLFISH_RETURN_IF_ERROR(writer.finish());
    if (model_.is_directory) BILLFISH_RETURN_IF_ERROR(write_texts(output, writer, progress));
    return output.commit();
  }

 private:
  Status plan_layer(const Layer& layer) {
    if (!layer.info.supported) return unsupported(layer.info.reason);
    if (const std::string reason = why_not(format_, layer.shape, layer.info.act_order); !reason.empty()) return unsupported(reason);
    Copies copies;
    Result<QuantizedMatrix> matrix = load_layer(model_, layer, copies, 1);
    if (!matrix.ok()) return matrix.status();
    if (const std::string reason = why_not(format_, *matrix, layer.info.act_order); !reason.empty()) return unsupported(reason);
    LayerPlan plan;
    plan.layer = &layer;
    plan.numbers = {layer.info.name, *matrix, layer.info.group, layer.info.act_order};
    plan.parts = new_parts(format_, *matrix, layer.info.act_order, matrix->bias != nullptr, matrix->bias_type);
    if (!layer.packed) {
      Result<PackedBytes> bytes = options_.functions.sizes(*matrix);
      if (!bytes.ok()) return bytes.status();
      plan.packed = *bytes;
    }
    for (const Part& part : layer.parts) {
      if (part.role == Role::other) continue;
      by_tensor_[part.place.tensor] = plans_.size();
      model_.drop(part.place);
      // What was kept of the source for its own format has no place in another one.
      if (!layer.packed) continue;
      for (const FormatPart& source : format_parts(layer.source, layer.shape, ElementType::f16)) {
        if (const TensorPlace* kept = model_.find(source_tensor_name(layer.info.name, source.suffix))) dropped_.insert(kept->tensor);
      }
    }
    plans_.push_back(std::move(plan));
    return {};
  }

  bool is_dropped(const Tensor& tensor) const {
    return dropped_.contains(&tensor) || (!recognised_.packed.empty() && tensor.name.starts_with(kEmptyShardPrefix));
  }
  const LayerPlan* plan_of(const Tensor& tensor) const {
    const auto found = by_tensor_.find(&tensor);
    return found == by_tensor_.end() ? nullptr : &plans_[found->second];
  }
  static bool is_codes(const LayerPlan& plan, const Tensor& tensor) { return plan.layer->part(Role::codes)->place.tensor == &tensor; }

  NewFile plan_file(std::size_t s) const {
    const Shard& shard = model_.shards[s];
    NewFile file;
    file.name = shard.name;
    for (const Tensor& tensor : shard.header.tensors) {
      if (is_dropped(tensor)) continue;
      const LayerPlan* plan = plan_of(tensor);
      if (!plan) {
        file.tensors.push_back(tensor);
      } else if (is_codes(*plan, tensor)) {
        for (const FormatPart& part : plan->parts) {
          file.tensors.push_back({tensor_name(plan->layer->info.name, part.suffix), part.dtype, part.shape, part.bytes});
        }
      }
    }
    for (const auto& [key, value] : shard.header.metadata) {
      if (key != kPackedKey && key != kSourceHeaderKey && key != "quantization_config") file.metadata.emplace_back(key, value);
    }
    if (!shard.header.find_metadata("format")) file.metadata.emplace_back("format", "pt");
    file.metadata.emplace_back("quantization_config", config_);
    return file;
  }

  Status write_shard(std::size_t s, TensorWriter& writer, Progress& progress) {
    for (const Tensor& tensor : model_.shards[s].header.tensors) {
      if (is_dropped(tensor)) continue;
      const LayerPlan* plan = plan_of(tensor);
      if (!plan) {
        BILLFISH_RETURN_IF_ERROR(writer.copy(tensor.name, model_, {s, &tensor}, progress));
      } else if (is_codes(*plan, tensor)) {
        BILLFISH_RETURN_IF_ERROR(about_layer(write_layer(*plan, writer), plan->layer->info.name));
        BILLFISH_RETURN_IF_ERROR(progress.advance(plan->layer->info.name, plan->layer->info.bytes));
      }
    }
    return {};
  }

  Status write_layer(const LayerPlan& plan, TensorWriter& writer) {
    Copies copies;
    Result<QuantizedMatrix> matrix = load_layer(model_, *plan.layer, copies, 1);
    if (!matrix.ok()) return matrix.status();
    PackedMatrix packed = packed_view(*matrix);
    if (!plan.layer->packed) {
      BILLFISH_RETURN_IF_ERROR(place_packed(buffer_, plan.packed, packed));
      BILLFISH_RETURN_IF_ERROR(options_.functions.pack(*matrix, packed, options_.parallel));
    }
    BILLFISH_RETURN_IF_ERROR(unpacked_.make(options_.functions, packed, format_, options_.parallel));
    BILLFISH_RETURN_IF_ERROR(unpacked_.write_new(plan.layer->info.name, plan.parts, *matrix, matrix->bias, writer));
    for (const Part& part : plan.layer->parts) model_.drop(part.place);
    return {};
  }

  Status write_texts(StagedOutput& output, const TensorWriter& writer, Progress& progress) {
    std::set<std::string> written;
    for (const Shard& shard : model_.shards) written.insert(shard.name);
    for (const ConfigText& config : model_.quant_configs) written.insert(config.name);  // they speak of another format
    for (const WrittenConfig& config : replace_configs(model_, config_, format_)) {
      BILLFISH_RETURN_IF_ERROR(output.write_text(config.name, config.content));
      written.insert(config.name);
    }
    if (!model_.index_name.empty()) {
      BILLFISH_RETURN_IF_ERROR(output.write_text(model_.index_name, rewrite_index(model_, writer)));
      written.insert(model_.index_name);
    }
    return copy_other_files(model_, output, written, progress);
  }

  const Model& model_;
  const Recognised& recognised_;
  Format format_;
  const ConvertOptions& options_;
  std::vector<LayerPlan> plans_;
  std::map<const Tensor*, std::size_t> by_tensor_;
  std::set<const Tensor*> dropped_;
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
