// SPDX-License-Identifier: Apache-2.0
// A whole checkpoint folder from one input: files separated by lines "== <digit>\n", the digit choosing the name. A .safetensors file is
// its header, a newline, and a pattern of bytes that is repeated to the length that the header speaks of (so that mutations of shapes
// still meet a file of the right size) unless it begins with '!', in which case it is taken as it is.
//
// Whatever opens is loaded, packed and unpacked, in memory and sometimes as files: views must stay within their files, and a checkpoint
// that was packed must come back byte for byte.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "../../fuzz/targets/files.hpp"
#include "formats/convert.hpp"
#include "formats/format_parts.hpp"
#include "formats/open_checkpoint.hpp"
#include "pack/pack.hpp"

namespace billfish::fuzz {

constexpr std::int64_t kLargestFile = 1 << 20;   // bytes of a file that is made
constexpr std::int64_t kLargestLayer = 1 << 22;  // packed bytes of a layer that is packed

inline std::string tensor_file(std::string_view content) {
  if (content.starts_with('!')) return std::string(content.substr(1));
  const std::size_t line = std::min(content.find('\n'), content.size());
  const std::string_view json = content.substr(0, line), pattern = line < content.size() ? content.substr(line + 1) : std::string_view();
  const auto header = formats::parse_header("fuzz", json, -1);
  std::size_t bytes = pattern.size();
  if (header.ok()) {
    const std::int64_t end = header->tensors.empty() ? 0 : header->tensors.back().begin + header->tensors.back().bytes;
    if (end <= kLargestFile) bytes = static_cast<std::size_t>(end);
  }
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i) out[static_cast<std::size_t>(i)] = static_cast<char>(json.size() >> (8 * i));
  out += json;
  for (std::size_t i = 0; i < bytes; ++i) out.push_back(pattern.empty() ? static_cast<char>(0x37) : pattern[i % pattern.size()]);
  return out;
}

inline void exercise(const formats::OpenCheckpoint& checkpoint, std::int64_t layer) {
  const auto matrix = checkpoint.load(layer);
  if (!matrix.ok()) return;
  const auto sizes = pack::packed_sizes(*matrix);
  if (!sizes.ok() || sizes->codes + sizes->scales > kLargestLayer) return;
  formats::Buffer buffer;
  PackedMatrix packed;
  if (!formats::place_packed(buffer, {sizes->codes, sizes->scales, sizes->zeros, sizes->perm, sizes->g_idx, sizes->bias}, packed).ok())
    return;
  if (!pack::pack(*matrix, packed, Parallel()).ok()) return;
  const Format format = matrix->format == Format::marlin ? Format::gptq_v1 : matrix->format;
  const formats::PackFunctions functions = {nullptr, pack::pack, pack::unpack};
  formats::Unpacked unpacked;
  if (!unpacked.make(functions, packed, format, Parallel()).ok()) __builtin_trap();  // what was packed can be unpacked
}

inline std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void exercise_files(const Folder& folder, const formats::OpenCheckpoint& checkpoint) {
  static const Folder out;
  out.clear();
  formats::ConvertOptions options;
  options.functions = {[](const QuantizedMatrix& matrix) -> Result<formats::PackedBytes> {
                         const auto sizes = pack::packed_sizes(matrix);
                         if (!sizes.ok()) return sizes.status();
                         if (sizes->codes + sizes->scales > kLargestLayer) return unsupported("larger than this target likes");
                         return formats::PackedBytes{sizes->codes, sizes->scales, sizes->zeros, sizes->perm, sizes->g_idx, sizes->bias};
                       },
                       pack::pack, pack::unpack};
  options.skip_unsupported = true;
  const bool plain = checkpoint.recognised.packed.empty();
  if (!plain) (void)formats::unpack_checkpoint(folder.path(), out / "back", "", options).ok();
  if (!formats::pack_checkpoint(folder.path(), out / "packed", options).ok() || !plain) return;
  if (!formats::unpack_checkpoint(out / "packed", out / "unpacked", "", options).ok()) __builtin_trap();
  for (const formats::Shard& shard : checkpoint.model.shards) {
    if (content_of(folder / shard.name) != content_of(out / ("unpacked/" + shard.name))) __builtin_trap();
  }
}

// Whether the folder opened as a checkpoint with at least one supported layer.
inline bool checkpoint(const std::uint8_t* data, std::size_t size) {
  constexpr std::string_view kNames[] = {"model.safetensors",
                                         "config.json",
                                         "quantize_config.json",
                                         "model.safetensors.index.json",
                                         "model-00001-of-00002.safetensors",
                                         "model-00002-of-00002.safetensors"};
  static const Folder folder;
  folder.clear();
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (rest.starts_with("== ") && rest.size() >= 5) {
    const unsigned choice = static_cast<unsigned char>(rest[3]) % 6u;
    rest.remove_prefix(5);
    const std::size_t end = std::min(rest.find("== "), rest.size());
    const std::string_view content = rest.substr(0, end), name = kNames[choice];
    folder.write(name, name.ends_with(".safetensors") ? tensor_file(content) : std::string(content));
    rest.remove_prefix(end);
  }
  const auto opened = formats::OpenCheckpoint::open(folder.path());
  if (!opened.ok()) {
    if (opened.status().message().empty()) __builtin_trap();
    return false;
  }
  bool any = false;
  const std::vector<formats::LayerInfo>& layers = (*opened)->layers();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!layers[i].supported && layers[i].reason.empty()) __builtin_trap();
    any = any || layers[i].supported;
    if (i < 16) exercise(**opened, static_cast<std::int64_t>(i));
  }
  if (any && size % 4 == 0) exercise_files(folder, **opened);
  return any;
}

}  // namespace billfish::fuzz
