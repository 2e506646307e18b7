// SPDX-License-Identifier: Apache-2.0
// Matrices in memory -> a checkpoint directory like those that quantisers write.
#include <optional>

#include "formats/convert.hpp"
#include "formats/convert_steps.hpp"
#include "formats/format_parts.hpp"
#include "formats/output.hpp"
#include "formats/packed_metadata.hpp"
#include "formats/tensor_writer.hpp"
#include "formats/text.hpp"
#include "formats/transcode.hpp"

namespace billfish::formats {
namespace {

struct LayerPlan {
  const NamedMatrix* layer = nullptr;
  PackedBytes packed;
  std::vector<FormatPart> parts;
};

Status plan_layer(const NamedMatrix& layer, Format format, const PackFunctions& functions, LayerPlan& plan, LayerNumbers& numbers) {
  const QuantizedMatrix& matrix = layer.matrix;
  Result<PackedBytes> bytes = functions.sizes(matrix);
  if (!bytes.ok()) return bytes.status();
  const bool act_order = bytes->perm > 0 || bytes->g_idx > 0;
  if (const std::string reason = why_not(format, matrix, act_order); !reason.empty()) return unsupported(reason);
  plan = {&layer, *bytes, new_parts(format, matrix, act_order, matrix.bias != nullptr, matrix.bias_type)};
  numbers = {layer.name, matrix, matrix.per_column() ? -1 : matrix.group, act_order};
  return {};
}

}  // namespace

Status write_checkpoint(const std::string& directory, const std::string& format, const std::vector<NamedMatrix>& layers,
                        const PackFunctions& functions, const Parallel& parallel) {
  const std::optional<Format> known = format_of(format);
  if (!known || *known == Format::raw) {
    return invalid_argument(text("format is ", quote(format), "; supported are gptq, gptq_v2, awq, compressed-tensors and marlin"));
  }
  std::vector<LayerPlan> plans(layers.size());
  std::vector<LayerNumbers> numbers(layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    BILLFISH_RETURN_IF_ERROR(about_layer(plan_layer(layers[i], *known, functions, plans[i], numbers[i]), layers[i].name));
  }
  Result<std::string> config = make_quant_config(*known, numbers);
  if (!config.ok()) return config.status();

  NewFile file;
  file.name = "model.safetensors";
  for (const LayerPlan& plan : plans) {
    for (const FormatPart& part : plan.parts)
      file.tensors.push_back({tensor_name(plan.layer->name, part.suffix), part.dtype, part.shape, part.bytes});
  }
  file.metadata = {{"format", "pt"}, {"quantization_config", *config}};
  StagedOutput output;
  BILLFISH_RETURN_IF_ERROR(output.begin(directory, true));
  TensorWriter writer(output);
  BILLFISH_RETURN_IF_ERROR(writer.add(std::move(file)));
  BILLFISH_RETURN_IF_ERROR(writer.create_all());
  Buffer buffer;
  Unpacked unpacked;
  for (const LayerPlan& plan : plans) {
    const QuantizedMatrix& matrix = plan.layer->matrix;
    PackedMatrix packed;
    BILLFISH_RETURN_IF_ERROR(place_packed(buffer, plan.packed, packed));
    BILLFISH_RETURN_IF_ERROR(about_layer(functions.pack(matrix, packed, parallel), plan.layer->name));
    BILLFISH_RETURN_IF_ERROR(about_layer(unpacked.make(functions, packed, *known, parallel), plan.layer->name));
    BILLFISH_RETURN_IF_ERROR(unpacked.write_new(plan.layer->name, plan.parts, matrix, matrix.bias, writer));
  }
  BILLFISH_RETURN_IF_ERROR(writer.finish());
  Model none;
  for (const WrittenConfig& made : replace_configs(none, *config, *known)) {
    BILLFISH_RETURN_IF_ERROR(output.write_text(made.name, made.content));
  }
  return output.commit();
}

}  // namespace billfish::formats
