// SPDX-License-Identifier: Apache-2.0
// __metadata__.billfish, both ways.
#include "formats/packed_metadata.hpp"

#include <nlohmann/json.hpp>

#include "formats/json_text.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

constexpr std::string_view kNames[] = {"gptq", "gptq_v2", "awq", "compressed-tensors", "raw", "marlin"};
constexpr int kVersion = 1;
constexpr std::int64_t kLargestGroup = std::int64_t{1} << 40;

}  // namespace

std::string_view format_name(Format format) { return kNames[static_cast<int>(format)]; }

std::optional<Format> format_of(std::string_view name) {
  for (int i = 0; i < 6; ++i) {
    if (kNames[i] == name) return static_cast<Format>(i);
  }
  return std::nullopt;
}

std::string write_packed_metadata(const PackedLayers& layers) {
  std::string out = text("{\"version\":", kVersion, ",\"layers\":{");
  bool first = true;
  for (const auto& [name, layer] : layers) {
    if (!first) out.push_back(',');
    first = false;
    append_json_string(out, name);
    out.append(text(":{\"source\":\"", format_name(layer.source), "\",\"group\":", layer.group, '}'));
  }
  out.append("}}");
  return out;
}

Status read_packed_metadata(std::string_view where, std::string_view json, PackedLayers& layers) {
  BILLFISH_RETURN_IF_ERROR(check_json_depth(where, json));
  const nlohmann::json root = nlohmann::json::parse(json, nullptr, false);
  if (root.is_discarded() || !root.is_object()) return bad_input(text(where, ": not a JSON object"));
  const auto version = root.find("version");
  if (version == root.end() || !version->is_number_integer() || version->get<std::int64_t>() != kVersion) {
    return bad_input(text(where, ": version is not ", kVersion, ", the only one that is read"));
  }
  const auto entries = root.find("layers");
  if (entries == root.end() || !entries->is_object()) return bad_input(text(where, ": there is no object layers"));
  for (const auto& [name, entry] : entries->items()) {
    const auto source = entry.is_object() ? entry.find("source") : entry.end();
    const auto group = entry.is_object() ? entry.find("group") : entry.end();
    if (!entry.is_object() || source == entry.end() || !source->is_string() || group == entry.end() || !group->is_number_integer()) {
      return bad_input(text(where, ": layer ", quote(name), " needs a string source and a number group"));
    }
    const std::optional<Format> format = format_of(source->get_ref<const std::string&>());
    if (!format)
      return bad_input(text(where, ": layer ", quote(name), " has the unknown source ", quote(source->get_ref<const std::string&>())));
    const std::int64_t size = group->get<std::int64_t>();
    if (size > kLargestGroup || size < -1 || size == 0) return bad_input(text(where, ": layer ", quote(name), " has the group ", size));
    if (!layers.try_emplace(name, PackedLayer{*format, size}).second) {
      return bad_input(text(where, ": layer ", quote(name), " is described in two files"));
    }
  }
  return {};
}

}  // namespace billfish::formats
