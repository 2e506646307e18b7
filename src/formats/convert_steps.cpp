// SPDX-License-Identifier: Apache-2.0
// Names, buffers and files that are not tensors.
#include "formats/convert_steps.hpp"

#include <algorithm>
#include <filesystem>

#include "core/integers.hpp"
#include "formats/json_text.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kAlignment = 64;
constexpr int kDeepestFolder = 8;

Status copy_file(const fs::path& from, const std::string& name, StagedOutput& output, Progress& progress) {
  constexpr std::int64_t kPiece = std::int64_t{16} << 20;
  Result<MappedFile> map = MappedFile::open(from.string());
  if (!map.ok()) return map.status();
  const std::int64_t bytes = static_cast<std::int64_t>(map->bytes().size());
  Result<OutputFile> file = output.create(name, bytes);
  if (!file.ok()) return file.status();
  for (std::int64_t at = 0; at < bytes; at += kPiece) {
    const std::int64_t piece = std::min(kPiece, bytes - at);
    BILLFISH_RETURN_IF_ERROR(file->write_at(at, map->bytes().data() + at, piece));
    map->drop(map->bytes().data() + at, piece);
    BILLFISH_RETURN_IF_ERROR(progress.advance(name, 0));
  }
  return file->finish();
}

Status copy_folder(const fs::path& from, const std::string& prefix, int depth, StagedOutput& output, const std::set<std::string>& written,
                   Progress& progress) {
  std::vector<fs::directory_entry> entries;
  std::error_code error;
  for (fs::directory_iterator entry(from, error), end; !error && entry != end; entry.increment(error)) entries.push_back(*entry);
  if (error) return io_error(text("cannot list ", quote(from.string()), ": ", error.message()));
  std::sort(entries.begin(), entries.end());
  for (const fs::directory_entry& entry : entries) {
    const std::string name = prefix + entry.path().filename().string();
    if (entry.is_directory(error)) {
      if (entry.is_symlink(error) || entry.path().filename().string().starts_with('.') || depth == kDeepestFolder) continue;
      BILLFISH_RETURN_IF_ERROR(output.make_directory(name));
      BILLFISH_RETURN_IF_ERROR(copy_folder(entry.path(), name + "/", depth + 1, output, written, progress));
    } else if (entry.is_regular_file(error) && !written.contains(name)) {
      BILLFISH_RETURN_IF_ERROR(copy_file(entry.path(), name, output, progress));
    }
  }
  return {};
}

std::string weight_map_json(const TensorWriter& writer) {
  std::string out = "{";
  for (const auto& [tensor, file] : writer.weight_map()) {
    out += out.size() > 1 ? ",\n    " : "\n    ";
    append_json_string(out, tensor);
    out += ": ";
    append_json_string(out, file);
  }
  out += out.size() > 1 ? "\n  }" : "}";
  return out;
}

// Where a model's config says how it was quantised: the member of config.json, if there is one.
std::string_view quantisation_of(const std::string& config_json) {
  for (const std::string_view member : kConfigMembers) {
    const std::string_view value = json_member(config_json, member);
    if (!value.empty() && value != "null") return value;
  }
  return {};
}

std::string wrapped(std::string_view source, std::string_view packed_from) {
  return text("{\"quant_method\": \"billfish\", \"billfish_version\": 1, \"checkpoint_format\": \"marlin\", \"packed_from\": ",
              json_string(packed_from), ", \"source\": ", source, "}");
}

bool is_wrapped(std::string_view config) { return json_member(config, "quant_method") == "\"billfish\""; }

}  // namespace

std::string tensor_name(std::string_view layer, std::string_view suffix) {
  return layer.empty() ? std::string(suffix) : text(layer, '.', suffix);
}

std::string source_tensor_name(std::string_view layer, std::string_view suffix) { return tensor_name(layer, text(kSourcePrefix, suffix)); }

std::string_view dtype_name(ElementType type) { return type == ElementType::f32 ? "F32" : type == ElementType::bf16 ? "BF16" : "F16"; }

Status Buffer::reserve(std::int64_t bytes) {
  if (bytes <= capacity_) return {};
  block_.reset();  // before the next one is asked for: only one is ever held
  capacity_ = 0;
  const std::int64_t rounded = round_up(bytes, kAlignment);
  block_.reset(static_cast<std::byte*>(std::aligned_alloc(static_cast<std::size_t>(kAlignment), static_cast<std::size_t>(rounded))));
  if (!block_) return {Code::out_of_memory, text("no memory for ", bytes, " bytes")};
  capacity_ = rounded;
  return {};
}

std::int64_t with_gap(std::int64_t bytes) { return round_up(bytes, kAlignment); }

Status place_packed(Buffer& buffer, const PackedBytes& bytes, PackedMatrix& target) {
  const std::int64_t parts[] = {bytes.codes, bytes.scales, bytes.zeros, bytes.perm, bytes.g_idx, bytes.bias};
  std::byte* at[6] = {};
  std::int64_t total = 0;
  for (const std::int64_t part : parts) total += with_gap(part);
  BILLFISH_RETURN_IF_ERROR(buffer.reserve(total));
  std::byte* next = buffer.data();
  for (int i = 0; i < 6; ++i) {
    at[i] = parts[i] > 0 ? next : nullptr;
    next += with_gap(parts[i]);
  }
  target.codes = reinterpret_cast<std::uint32_t*>(at[0]);
  target.scales = at[1];
  target.zeros = reinterpret_cast<std::uint32_t*>(at[2]);
  target.perm = reinterpret_cast<std::int32_t*>(at[3]);
  target.g_idx = reinterpret_cast<std::int32_t*>(at[4]);
  target.bias = at[5];
  return {};
}

Status about_layer(const Status& status, std::string_view layer) {
  if (status.ok()) return status;
  return {status.code(), text("layer ", quote(layer), ": ", status.message())};
}

Status check_paths(const Model& model, const std::string& out) {
  std::error_code error;
  const fs::path target = fs::weakly_canonical(fs::absolute(out, error), error);
  const fs::path source = fs::weakly_canonical(fs::absolute(model.path, error), error);
  if (target == source) return io_error(text("cannot write ", quote(out), ": it is the input"));
  if (!model.is_directory) return {};
  const fs::path directory = fs::weakly_canonical(fs::absolute(model.directory.empty() ? "." : model.directory, error), error);
  const fs::path within = target.lexically_relative(directory);
  if (!within.empty() && *within.begin() != "..")
    return io_error(text("cannot write ", quote(out), ": it lies within the input ", quote(model.directory)));
  return {};
}

Status copy_other_files(const Model& model, StagedOutput& output, const std::set<std::string>& written, Progress& progress) {
  return copy_folder(model.directory.empty() ? "." : model.directory, "", 0, output, written, progress);
}

std::string rewrite_index(const Model& model, const TensorWriter& writer) {
  if (model.index_name.empty()) return "";
  const std::string_view map = json_member(model.index_json, "weight_map");
  if (map.empty()) return make_index(writer);  // the key is spelled with escapes: nobody's index, but a legal one
  std::string out = replace_member(model.index_json, map, weight_map_json(writer));
  const std::string_view metadata = json_member(out, "metadata");
  const std::string_view size = json_member(metadata, "total_size");
  return size.empty() ? out : replace_member(out, size, std::to_string(writer.total_bytes()));
}

std::string make_index(const TensorWriter& writer) {
  return text("{\n  \"metadata\": {\n    \"total_size\": ", writer.total_bytes(), "\n  },\n  \"weight_map\": ", weight_map_json(writer),
              "\n}\n");
}

std::vector<WrittenConfig> wrap_configs(const Model& model, std::string_view packed_from) {
  std::vector<WrittenConfig> out;
  const std::string_view part = quantisation_of(model.config.json);
  if (!part.empty() && !is_wrapped(part)) {
    out.push_back({model.config.name, replace_member(model.config.json, part, wrapped(part, packed_from))});
  }
  for (const ConfigText& config : model.quant_configs) {
    if (!is_wrapped(config.json)) out.push_back({config.name, wrapped(config.json, packed_from)});
  }
  return out;
}

std::vector<WrittenConfig> unwrap_configs(const Model& model) {
  std::vector<WrittenConfig> out;
  const std::string_view part = quantisation_of(model.config.json);
  if (is_wrapped(part)) out.push_back({model.config.name, replace_member(model.config.json, part, json_member(part, "source"))});
  for (const ConfigText& config : model.quant_configs) {
    if (is_wrapped(config.json)) out.push_back({config.name, std::string(json_member(config.json, "source"))});
  }
  return out;
}

std::vector<WrittenConfig> replace_configs(const Model& model, std::string_view config, Format format) {
  std::vector<WrittenConfig> out;
  std::string json = model.config.json;
  const std::string_view part = quantisation_of(json);
  if (!part.empty()) {
    json = replace_member(json, part, config);
  } else if (!model.config.name.empty()) {
    const std::size_t brace = json.find('{') + 1;  // a new first member
    const bool empty = json.find_first_not_of(" \t\r\n", brace) == json.find('}', brace);
    json.insert(brace, text("\n  \"quantization_config\": ", config, empty ? "\n" : ","));
  } else {
    json = text("{\n  \"quantization_config\": ", config, "\n}\n");
  }
  out.push_back({"config.json", std::move(json)});
  if (format != Format::compressed_tensors) out.push_back({"quantize_config.json", text(config, '\n')});
  return out;
}

std::int64_t total_bytes(const Model& model) {
  std::int64_t out = 0;
  for (const Shard& shard : model.shards) {
    for (const Tensor& tensor : shard.header.tensors) out += tensor.bytes;
  }
  return out;
}

}  // namespace billfish::formats
