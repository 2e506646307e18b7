// SPDX-License-Identifier: Apache-2.0
// Sorts tensors into layers and hands every layer to the storage that its tensors' names belong to.
#include "formats/recognise.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "formats/text.hpp"

namespace billfish::formats {
namespace {

constexpr std::string_view kSuffixes[] = {"qweight",
                                          "qzeros",
                                          "scales",
                                          "g_idx",
                                          "perm",
                                          "bias",
                                          "weight_shape",
                                          "B",
                                          "s",
                                          "weight_packed",
                                          "weight_scale",
                                          "weight_zero_point",
                                          "weight_g_idx",
                                          "weight",
                                          "weight_scale_inv",
                                          "weight_global_scale",
                                          "input_scale",
                                          "input_global_scale",
                                          "meta",
                                          "B_24",
                                          "B_meta",
                                          "scale_packed"};

bool known_suffix(std::string_view suffix) {
  return suffix.starts_with(kSourcePrefix) || std::find(std::begin(kSuffixes), std::end(kSuffixes), suffix) != std::end(kSuffixes);
}

bool is_float8_or_int8(const Part* weight) {
  return weight && (weight->place.tensor->dtype.starts_with("F8_") || weight->place.tensor->dtype == "I8");
}

// What kind of layer these tensors make up, if any.
Status recognise_layer(const Evidence& evidence, Layer& layer, bool& is_layer) {
  is_layer = true;
  if (find_part(layer, "qweight") && evidence.packed.contains(layer.info.name)) return recognise_packed(evidence, layer);
  if (find_part(layer, "B_24") || (find_part(layer, "weight_packed") && find_part(layer, "meta"))) {
    refuse(layer, "2:4 sparse weights are not supported");
    return {};
  }
  if (find_part(layer, "qweight")) return recognise_qweight(evidence, layer);
  if (find_part(layer, "B") && find_part(layer, "s")) return recognise_marlin(evidence, layer);
  if (find_part(layer, "weight_packed")) return recognise_compressed_tensors(evidence, layer);
  const Part* weight = find_part(layer, "weight");
  if (is_float8_or_int8(weight) && (find_part(layer, "weight_scale") || find_part(layer, "weight_scale_inv"))) {
    const Tensor& tensor = *weight->place.tensor;
    if (tensor.shape.size() == 2) {
      layer.info.n = tensor.shape[0];
      layer.info.k = tensor.shape[1];
    }
    refuse(layer, text("weights of dtype ", tensor.dtype, " are not supported: 4- and 8-bit unsigned codes are"));
    return {};
  }
  is_layer = false;
  return {};
}

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (digit(a[i]) && digit(b[j])) {
      std::size_t i_end = i, j_end = j;
      while (i_end < a.size() && digit(a[i_end])) ++i_end;
      while (j_end < b.size() && digit(b[j_end])) ++j_end;
      while (i + 1 < i_end && a[i] == '0') ++i;
      while (j + 1 < j_end && b[j] == '0') ++j;
      if (i_end - i != j_end - j) return i_end - i < j_end - j;
      const int order = a.substr(i, i_end - i).compare(b.substr(j, j_end - j));
      if (order != 0) return order < 0;
      i = i_end;
      j = j_end;
    } else {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
    }
  }
  if (a.size() - i != b.size() - j) return a.size() - i < b.size() - j;
  return a < b;
}

const Part* Layer::part(Role role) const {
  for (const Part& part : parts) {
    if (part.role == role) return &part;
  }
  return nullptr;
}

const Part* find_part(const Layer& layer, std::string_view suffix) {
  for (const Part& part : layer.parts) {
    if (part.suffix == suffix) return &part;
  }
  return nullptr;
}

void assign(Layer& layer, std::string_view suffix, Role role) {
  for (Part& part : layer.parts) {
    if (part.suffix == suffix) part.role = role;
  }
}

void refuse(Layer& layer, std::string reason) {
  layer.info.supported = false;
  layer.info.reason = std::move(reason);
}

std::string label(const Evidence& evidence, const Layer& layer) {
  const TensorPlace& place = layer.parts.front().place;
  return text(evidence.model.shards[place.shard].map.path(), ": layer ", quote(layer.info.name));
}

std::int32_t read_i32(const std::byte* data, std::int64_t index) {
  std::int32_t value = 0;
  std::memcpy(&value, data + index * 4, 4);
  return value;
}

std::int64_t read_i64(const std::byte* data, std::int64_t index) {
  std::int64_t value = 0;
  std::memcpy(&value, data + index * 8, 8);
  return value;
}

Status expect_shape(const Evidence& evidence, const Part& part, const std::vector<std::int64_t>& shape, std::string_view why) {
  return evidence.model.expect_shape(part.place, shape, why);
}

Result<Recognised> recognise(const Model& model) {
  Recognised out;
  for (const Shard& shard : model.shards) {
    const std::string* json = shard.header.find_metadata(kPackedKey);
    if (!json) continue;
    BILLFISH_RETURN_IF_ERROR(read_packed_metadata(text(shard.map.path(), ": __metadata__.", kPackedKey), *json, out.packed));
  }
  Result<QuantConfig> config = find_quant_config(model);
  if (!config.ok()) return config.status();
  out.config = std::move(*config);

  std::map<std::string_view, Layer> by_prefix;
  for (std::size_t s = 0; s < model.shards.size(); ++s) {
    for (const Tensor& tensor : model.shards[s].header.tensors) {
      const std::string_view name = tensor.name;
      const std::size_t dot = name.rfind('.');
      const std::string_view suffix = dot == std::string_view::npos ? name : name.substr(dot + 1);
      if (!known_suffix(suffix)) continue;
      const std::string_view prefix = dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
      Layer& layer = by_prefix[prefix];
      layer.info.name = prefix;
      layer.parts.push_back({Role::other, std::string(suffix), {s, &tensor}});
    }
  }
  const Evidence evidence{model, out.config, out.packed};
  std::map<const Tensor*, bool> taken;
  for (auto& [prefix, layer] : by_prefix) {
    bool is_layer = false;
    BILLFISH_RETURN_IF_ERROR(recognise_layer(evidence, layer, is_layer));
    if (!is_layer) continue;
    for (const Part& part : layer.parts) {
      const bool kept = layer.packed && part.suffix.starts_with(kSourcePrefix);
      if (layer.info.supported && part.role == Role::other && !kept) continue;
      taken[part.place.tensor] = true;
      layer.info.bytes += part.place.tensor->bytes;
    }
    layer.info.bias = layer.part(Role::bias) != nullptr;
    out.layers.push_back(std::move(layer));
  }
  for (const auto& [name, entry] : out.packed) {
    const auto found = by_prefix.find(name);
    if (found == by_prefix.end() || !model.find(text(name, name.empty() ? "" : ".", "qweight"))) {
      return bad_input(text(quote(model.path), ": __metadata__.", kPackedKey, " describes layer ", quote(name), ", which has no qweight"));
    }
  }
  for (std::size_t s = 0; s < model.shards.size(); ++s) {
    for (const Tensor& tensor : model.shards[s].header.tensors) {
      if (!taken.contains(&tensor)) out.unquantized.push_back({s, &tensor});
    }
  }
  std::sort(out.layers.begin(), out.layers.end(), [](const Layer& a, const Layer& b) { return natural_less(a.info.name, b.info.name); });
  return Result<Recognised>(std::move(out));
}

}  // namespace billfish::formats
