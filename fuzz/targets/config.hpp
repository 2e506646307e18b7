// SPDX-License-Identifier: Apache-2.0
// Any text as each of the JSON documents that come with checkpoints: configs, indexes, our own metadata.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "formats/json_text.hpp"
#include "formats/model.hpp"
#include "formats/packed_metadata.hpp"
#include "formats/quant_config.hpp"

namespace billfish::fuzz {

// Whether any of the readers accepted it.
inline bool config(const std::uint8_t* data, std::size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto index = formats::parse_index("fuzz", json);
  formats::PackedLayers layers;
  const Status packed = formats::read_packed_metadata("fuzz", json, layers);
  if (packed.ok()) {
    formats::PackedLayers again;
    if (!formats::read_packed_metadata("fuzz", formats::write_packed_metadata(layers), again).ok() || again.size() != layers.size())
      __builtin_trap();
  }
  if (!formats::check_json_depth("fuzz", json).ok()) return false;
  for (const char* key : {"quantization_config", "source", "weight_map"}) {
    const std::string_view member = formats::json_member(json, key);
    if (!member.empty() && formats::replace_member(json, member, "0").size() != size - member.size() + 1) __builtin_trap();
  }
  const auto quantisation = formats::parse_quant_config("fuzz", json);
  if (quantisation.ok() && quantisation->candidates("model.layers.0.mlp.up_proj").empty()) __builtin_trap();
  return index.ok() || packed.ok() || (quantisation.ok() && quantisation->method != formats::Method::other);
}

}  // namespace billfish::fuzz
