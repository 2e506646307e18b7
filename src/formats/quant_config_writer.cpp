// SPDX-License-Identifier: Apache-2.0
// Quantisation configs of new files: what GPTQ, AWQ and compressed-tensors readers expect to find.
#include <algorithm>
#include <map>
#include <tuple>

#include "formats/json_text.hpp"
#include "formats/text.hpp"
#include "formats/transcode.hpp"

namespace billfish::formats {
namespace {

struct Kind {
  int bits = 4;
  std::int64_t group = -1;
  bool symmetric = true;
  auto operator<=>(const Kind&) const = default;
};

Kind kind_of(const LayerNumbers& layer) { return {bits_of(layer.shape.type), layer.group, !has_zeros(layer.shape.type)}; }

// The kind that most layers have.
Kind usual_kind(const std::vector<LayerNumbers>& layers) {
  std::map<Kind, std::size_t> counts;
  for (const LayerNumbers& layer : layers) ++counts[kind_of(layer)];
  Kind best;
  std::size_t most = 0;
  for (const auto& [kind, count] : counts) {
    if (count > most) best = kind;
    most = std::max(most, count);
  }
  return best;
}

const char* boolean(bool value) { return value ? "true" : "false"; }

// A regular expression for exactly this name.
std::string expression_of(const std::string& name) {
  std::string out = "^";
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
    if (!plain) out.push_back('\\');
    out.push_back(c);
  }
  return out + "$";
}

constexpr std::string_view kHead = "lm_head";  // which readers treat apart: they leave it alone unless they are told otherwise

bool has_head(const std::vector<LayerNumbers>& layers) {
  return std::any_of(layers.begin(), layers.end(), [](const LayerNumbers& layer) { return layer.name == kHead; });
}

std::string name_list(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += text(out.empty() ? "" : ", ", json_string(name));
  return out;
}

std::string gptq_config(Format format, const std::vector<LayerNumbers>& layers, const std::vector<std::string>& left) {
  const Kind usual = usual_kind(layers);
  const bool act_order = std::any_of(layers.begin(), layers.end(), [](const LayerNumbers& layer) { return layer.act_order; });
  const std::string version = format == Format::marlin ? "marlin" : format == Format::gptq_v2 ? "gptq_v2" : "gptq";
  std::string rules;
  for (const LayerNumbers& layer : layers) {
    const Kind kind = kind_of(layer);
    if (kind == usual) continue;
    rules += rules.empty() ? "" : ", ";
    rules += text(json_string(text("+:", expression_of(layer.name))), ": {\"bits\": ", kind.bits, ", \"group_size\": ", kind.group,
                  ", \"sym\": ", boolean(kind.symmetric), '}');
  }
  for (const std::string& name : left) {
    if (name == kHead) continue;
    rules += text(rules.empty() ? "" : ", ", json_string(text("-:", expression_of(name))), ": {}");
  }
  return text("{\"quant_method\": \"gptq\", \"bits\": ", usual.bits, ", \"group_size\": ", usual.group,
              ", \"desc_act\": ", boolean(act_order), ", \"sym\": ", boolean(usual.symmetric), ", \"lm_head\": ", boolean(has_head(layers)),
              ", \"checkpoint_format\": \"", version, '"', format == Format::marlin ? ", \"is_marlin_format\": true" : "",
              rules.empty() ? "" : text(", \"dynamic\": {", rules, '}'), '}');
}

Result<std::string> awq_config(const std::vector<LayerNumbers>& layers, const std::vector<std::string>& left) {
  const LayerNumbers& first = layers.front();
  for (const LayerNumbers& layer : layers) {
    if (layer.group == first.group) continue;
    return unsupported(text("AWQ has one group size for all layers, but ", quote(first.name), " has ", first.group, " and ",
                            quote(layer.name), " has ", layer.group, ": gptq and compressed-tensors can hold both"));
  }
  return text("{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": ", first.group,
              ", \"zero_point\": true, \"version\": \"gemm\", \"modules_to_not_convert\": ",
              left.empty() ? "null" : text('[', name_list(left), ']'), '}');
}

std::string compressed_tensors_config(const std::vector<LayerNumbers>& layers, const std::vector<std::string>& left) {
  using Key = std::tuple<Kind, bool>;
  std::map<Key, std::vector<std::string>> groups;
  for (const LayerNumbers& layer : layers) groups[{kind_of(layer), layer.act_order}].push_back(layer.name);
  std::string out =
      "{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", \"quantization_status\": \"compressed\", "
      "\"config_groups\": {";
  int index = 0;
  for (const auto& [key, names] : groups) {
    const auto& [kind, act_order] = key;
    std::string targets;
    for (const std::string& name : names) targets += text(targets.empty() ? "" : ", ", json_string(name));
    if (groups.size() == 1) targets = "\"Linear\"";
    const std::string group = kind.group > 0 ? std::to_string(kind.group) : "null";
    out += text(index > 0 ? ", " : "", "\"group_", index, "\": {\"targets\": [", targets, "], \"weights\": {\"num_bits\": ", kind.bits,
                ", \"type\": \"int\", \"symmetric\": ", boolean(kind.symmetric), ", \"strategy\": \"", kind.group > 0 ? "group" : "channel",
                "\", \"group_size\": ", group, ", \"actorder\": ", act_order ? "\"group\"" : "null", ", \"dynamic\": false}, ",
                "\"input_activations\": null, \"output_activations\": null}");
    ++index;
  }
  return out + text("}, \"ignore\": [", name_list(left), "]}");
}

}  // namespace

Result<std::string> make_quant_config(Format format, const std::vector<LayerNumbers>& layers, const std::vector<std::string>& left) {
  if (layers.empty()) return std::string("{}");
  if (format == Format::awq) return awq_config(layers, left);
  if (format == Format::compressed_tensors) return compressed_tensors_config(layers, left);
  return gptq_config(format, layers, left);
}

}  // namespace billfish::formats
