// SPDX-License-Identifier: Apache-2.0
// Opens a path as a checkpoint: files, then layers, then one word for the whole.
#include "formats/checkpoint.hpp"

#include "formats/open_checkpoint.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

// What the config claims, in the words of --format; "" if nothing.
std::string claimed_format(const QuantConfig& config) {
  switch (config.method) {
    case Method::none: return "";
    case Method::gptq: return config.is_marlin ? "marlin" : config.checkpoint_format == "gptq_v2" ? "gptq_v2" : "gptq";
    case Method::awq: return config.is_marlin ? "marlin" : "awq";
    case Method::auto_round: return config.packing_format.find("awq") != std::string::npos ? "awq" : "gptq";
    case Method::compressed_tensors: return "compressed-tensors";
    case Method::other: return config.method_name;
  }
  return "";
}

std::string claim(const QuantConfig& config) {
  std::string out =
      text(config.where, ": ", config.method_name.empty() ? "no quant_method, but its keys" : text("quant_method is ", config.method_name));
  if (!config.checkpoint_format.empty()) out += text(", checkpoint_format is ", config.checkpoint_format);
  if (!config.version.empty()) out += text(", version is ", config.version);
  if (!config.packing_format.empty()) out += text(", packing_format is ", config.packing_format);
  if (!config.ct_format.empty() && config.method == Method::compressed_tensors) out += text(", format is ", config.ct_format);
  return out;
}

std::string numbers_text(int bits, std::int64_t group) {
  std::string groups = group == 0 ? "" : group < 0 ? "one group" : text("groups of ", group);
  if (bits == 0) return groups;
  return text(bits, " bits", groups.empty() ? "" : " and ", groups);
}

// What the config says of a layer's bits and group if its tensors' shapes say otherwise, which then count; "" if they agree.
std::string contradiction(const QuantConfig& config, const Layer& layer) {
  const std::vector<Numbers> said = config.candidates(layer.info.name);
  const std::int64_t group = resolve_group(layer.info.group, layer.info.k);
  for (const Numbers& some : said) {
    const bool same_bits = some.bits == 0 || some.bits == bits_of(layer.info.type);
    if (same_bits && (some.group == 0 || resolve_group(some.group, layer.info.k) == group)) return {};
  }
  if (said.empty()) return {};
  return text("it says ", numbers_text(said.front().bits, said.front().group), ", but by its tensors layer ", quote(layer.info.name),
              " has ", numbers_text(bits_of(layer.info.type), layer.info.group), ", and those count");
}

}  // namespace

Result<std::unique_ptr<OpenCheckpoint>> OpenCheckpoint::open(const std::string& path) {
  auto out = std::make_unique<OpenCheckpoint>();
  Result<Model> model = open_model(path);
  if (!model.ok()) return model.status();
  out->model = std::move(*model);
  Result<Recognised> recognised = recognise(out->model);
  if (!recognised.ok()) return recognised.status();
  out->recognised = std::move(*recognised);
  for (Layer& layer : out->recognised.layers) {
    // Without a config nobody has said whether zeros are symmetric: they are looked at now.
    if (layer.info.supported && !layer.info.type_from_config && !layer.packed && layer.part(Role::zeros)) {
      Copies copies;
      Result<QuantizedMatrix> matrix = load_layer(out->model, layer, copies, 1);
      if (!matrix.ok()) return matrix.status();
      layer.info.type = layer.shape.type = matrix->type;
      layer.info.format = matrix->format;
      layer.info.zero_points = has_zeros(matrix->type);
    }
    out->layers_.push_back(layer.info);
  }
  for (const TensorPlace& place : out->recognised.unquantized) out->unquantized_.push_back(*place.tensor);
  out->decide_format();
  return Result<std::unique_ptr<OpenCheckpoint>>(std::move(out));
}

void OpenCheckpoint::decide_format() {
  const QuantConfig& config = recognised.config;
  const Layer* first = nullptr;
  for (const Layer& layer : recognised.layers) {
    if (layer.info.supported && (!first || (layer.packed && !first->packed))) first = &layer;
  }
  const std::string claimed = claimed_format(config);
  format_ = claimed.empty() ? "none" : claimed;
  why_ = config.where.empty() ? "no quantisation config" : claim(config);
  if (first && first->packed) {
    format_ = "marlin";
    why_ = text("__metadata__ says that billfish packed it from ", format_name(first->source));
  } else if (first && format_name(first->info.format) != format_) {
    format_ = format_name(first->info.format);
    why_ += text("; the tensors of layer ", quote(first->info.name), " are ", format_);
  } else if (first) {
    for (const Layer& layer : recognised.layers) {
      const std::string otherwise = layer.info.supported ? contradiction(config, layer) : "";
      if (otherwise.empty()) continue;
      why_ += text("; ", otherwise);
      break;
    }
  } else if (recognised.layers.empty()) {
    if (!claimed.empty()) why_ += "; there are no quantised tensors";
    format_ = "none";
  }
}

Result<QuantizedMatrix> OpenCheckpoint::load(std::int64_t index) const {
  if (index < 0 || index >= static_cast<std::int64_t>(recognised.layers.size())) {
    return invalid_argument(text("layer ", index, ": there are ", recognised.layers.size(), " layers"));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto found = copied_.find(index); found != copied_.end()) return found->second.matrix;
  Loaded loaded;
  Result<QuantizedMatrix> matrix = load_layer(model, recognised.layers[static_cast<std::size_t>(index)], loaded.copies);
  if (matrix.ok() && !loaded.copies.empty()) {
    loaded.matrix = *matrix;
    copied_.emplace(index, std::move(loaded));
  }
  return matrix;
}

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path) {
  Result<std::unique_ptr<OpenCheckpoint>> out = OpenCheckpoint::open(path);
  if (!out.ok()) return out.status();
  return Result<std::unique_ptr<Checkpoint>>(std::move(*out));
}

}  // namespace billfish::formats
