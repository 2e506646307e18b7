// SPDX-License-Identifier: Apache-2.0
// Finds the files of a checkpoint and maps them.
#include "formats/model.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "formats/json_text.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLargestText = 100'000'000;  // bytes of a config or an index
constexpr std::string_view kTensors = ".safetensors";
constexpr std::string_view kIndex = ".safetensors.index.json";

bool ends_with(std::string_view name, std::string_view suffix) { return name.size() > suffix.size() && name.ends_with(suffix); }

std::string join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : (fs::path(directory) / name).string();
}

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

Status read_config(const Model& model, const std::string& name, ConfigText& out) {
  const std::string path = join(model.directory, name);
  if (!is_file(path)) return {};
  Result<std::string> json = read_text(path, kLargestText);
  if (!json.ok()) return json.status();
  BILLFISH_RETURN_IF_ERROR(check_json_depth(path, *json));
  // Not parsed as a whole: Python writes NaN and Infinity, which are no JSON. But an empty or foreign file is a damaged model.
  const std::size_t first = json->find_first_not_of(" \t\r\n");
  if (first == std::string::npos || (*json)[first] != '{') {
    return bad_input(text(path, ": not a JSON object", first == std::string::npos ? " (the file is empty)" : ""));
  }
  out.name = name;
  out.json = std::move(*json);
  return {};
}

Status read_configs(Model& model) {
  BILLFISH_RETURN_IF_ERROR(read_config(model, "config.json", model.config));
  for (const char* name : {"quantize_config.json", "quant_config.json"}) {
    ConfigText found;
    BILLFISH_RETURN_IF_ERROR(read_config(model, name, found));
    if (!found.name.empty()) model.quant_configs.push_back(std::move(found));
  }
  return {};
}

Status open_shard(Model& model, const std::string& name) {
  const std::string path = join(model.directory, name);
  Result<MappedFile> map = MappedFile::open(path);
  if (!map.ok()) return map.status();
  Result<Header> header = parse_safetensors(path, map->bytes());
  if (!header.ok()) return header.status();
  model.shards.push_back({name, std::move(*map), std::move(*header)});
  return {};
}

Status enter_tensors(Model& model) {
  for (std::size_t s = 0; s < model.shards.size(); ++s) {
    for (const Tensor& tensor : model.shards[s].header.tensors) {
      const auto [at, fresh] = model.places.try_emplace(tensor.name, TensorPlace{s, &tensor});
      if (!fresh) {
        return bad_input(text(model.directory, ": the tensor ", quote(tensor.name), " is in both ",
                              quote(model.shards[at->second.shard].name), " and ", quote(model.shards[s].name)));
      }
    }
  }
  return {};
}

Status open_index(Model& model) {
  const std::string path = join(model.directory, model.index_name);
  Result<std::string> json = read_text(path, kLargestText);
  if (!json.ok()) return json.status();
  model.index_json = std::move(*json);
  Result<Index> index = parse_index(path, model.index_json);
  if (!index.ok()) return index.status();
  for (const std::string& shard : index->shards) {
    if (!is_file(join(model.directory, shard))) return bad_input(text(path, ": the shard ", quote(shard), " is missing"));
    BILLFISH_RETURN_IF_ERROR(open_shard(model, shard));
  }
  BILLFISH_RETURN_IF_ERROR(enter_tensors(model));
  for (const auto& [name, shard] : index->tensors) {
    const TensorPlace* place = model.find(name);
    if (!place || model.shards[place->shard].name != index->shards[shard]) {
      return bad_input(text(path, ": the tensor ", quote(name), " is not in the shard ", quote(index->shards[shard])));
    }
  }
  return {};
}

// The safetensors files of a directory without an index: model.safetensors, the only one, or a whole set "...-00001-of-00003...".
Status choose_files(const Model& model, const std::vector<std::string>& files, std::vector<std::string>& chosen) {
  if (files.empty()) return bad_input(text(quote(model.directory), " holds no .safetensors file"));
  const auto found = std::find(files.begin(), files.end(), "model.safetensors");
  if (found != files.end() || files.size() == 1) {
    chosen = {found != files.end() ? *found : files.front()};
    return {};
  }
  const bool shards = std::all_of(files.begin(), files.end(), [](const std::string& f) { return f.find("-of-") != std::string::npos; });
  if (!shards) {
    return bad_input(text(quote(model.directory), " holds ", files.size(), " .safetensors files (", quote(files[0]), ", ", quote(files[1]),
                          ", ...) and no index: name the file"));
  }
  chosen = files;
  return {};
}

Status open_directory(Model& model) {
  std::vector<std::string> files, indexes;
  std::error_code error;
  fs::directory_iterator entries(model.directory, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    std::string name = entries->path().filename().string();
    if (ends_with(name, kIndex)) {
      indexes.push_back(std::move(name));
    } else if (ends_with(name, kTensors)) {
      files.push_back(std::move(name));
    }
  }
  if (error) return io_error(text("cannot list ", quote(model.directory), ": ", error.message()));
  std::sort(files.begin(), files.end());
  std::sort(indexes.begin(), indexes.end());
  if (!indexes.empty()) {
    const auto usual = std::find(indexes.begin(), indexes.end(), "model.safetensors.index.json");
    model.index_name = usual != indexes.end() ? *usual : indexes.front();
    return open_index(model);
  }
  std::vector<std::string> chosen;
  BILLFISH_RETURN_IF_ERROR(choose_files(model, files, chosen));
  for (const std::string& name : chosen) BILLFISH_RETURN_IF_ERROR(open_shard(model, name));
  return enter_tensors(model);
}

}  // namespace

const TensorPlace* Model::find(std::string_view name) const {
  const auto found = places.find(name);
  return found == places.end() ? nullptr : &found->second;
}

const std::byte* Model::data(const TensorPlace& place) const {
  const Shard& shard = shards[place.shard];
  return shard.map.bytes().data() + shard.header.data_begin + place.tensor->begin;
}

Status Model::expect_shape(const TensorPlace& place, const std::vector<std::int64_t>& shape, std::string_view why) const {
  if (place.tensor->shape == shape) return {};
  return bad_input(text(label(place), " has shape ", place.tensor->shape, ", expected ", shape, " (", why, ")"));
}

std::string Model::label(const TensorPlace& place) const { return text(shards[place.shard].map.path(), ": ", quote(place.tensor->name)); }

Result<Index> parse_index(std::string_view where, std::string_view json) {
  BILLFISH_RETURN_IF_ERROR(check_json_depth(where, json));
  const nlohmann::json root = nlohmann::json::parse(json, nullptr, false);
  if (root.is_discarded()) return bad_input(text(where, ": not valid JSON"));
  const auto map = root.is_object() ? root.find("weight_map") : root.end();
  if (!root.is_object() || map == root.end() || !map->is_object()) return bad_input(text(where, ": there is no object weight_map"));
  Index out;
  std::unordered_map<std::string, std::size_t> known;
  for (const auto& [tensor, value] : map->items()) {
    if (!value.is_string()) return bad_input(text(where, ": weight_map of ", quote(tensor), " is not a string"));
    const std::string& shard = value.get_ref<const std::string&>();
    if (shard.empty() || shard == "." || shard == ".." || shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      return bad_input(
          text(where, ": the shard name ", quote(shard), " of ", quote(tensor), " leaves the directory: a plain file name is needed"));
    }
    const auto [at, fresh] = known.try_emplace(shard, 0);
    if (fresh) out.shards.push_back(shard);
    out.tensors.emplace_back(tensor, 0);
  }
  std::sort(out.shards.begin(), out.shards.end());
  for (std::size_t i = 0; i < out.shards.size(); ++i) known[out.shards[i]] = i;
  for (auto& [tensor, shard] : out.tensors) shard = known[(*map)[tensor].get_ref<const std::string&>()];
  return Result<Index>(std::move(out));
}

Result<Model> open_model(const std::string& path) {
  Model model;
  model.path = path;
  if (path.empty() || path.find('\0') != std::string::npos) return bad_input(text("the path ", quote(path), " is not a path"));
  std::error_code error;
  model.is_directory = fs::is_directory(path, error);
  if (model.is_directory) {
    model.directory = path;
    BILLFISH_RETURN_IF_ERROR(open_directory(model));
  } else if (ends_with(path, ".index.json")) {
    model.is_directory = true;
    model.directory = fs::path(path).parent_path().string();
    model.index_name = fs::path(path).filename().string();
    BILLFISH_RETURN_IF_ERROR(open_index(model));
  } else {
    model.directory = fs::path(path).parent_path().string();
    BILLFISH_RETURN_IF_ERROR(open_shard(model, fs::path(path).filename().string()));
    BILLFISH_RETURN_IF_ERROR(enter_tensors(model));
  }
  BILLFISH_RETURN_IF_ERROR(read_configs(model));
  return Result<Model>(std::move(model));
}

}  // namespace billfish::formats
