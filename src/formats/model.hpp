// SPDX-License-Identifier: Apache-2.0
// What lies at a path: one safetensors file, or a directory with one or several (shards), and the texts of its configs. Knows tensors by
// name, and nothing about quantisation. Called by recognise.cpp and the converters; calls safetensors.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/status.hpp"
#include "formats/mapped_file.hpp"
#include "formats/safetensors.hpp"

namespace billfish::formats {

struct Shard {
  std::string name;  // of the file, without its directory
  MappedFile map;
  Header header;
};

struct TensorPlace {
  std::size_t shard = 0;
  const Tensor* tensor = nullptr;
};

struct ConfigText {
  std::string name;  // "config.json"; "" if there is no such file
  std::string json;
};

struct Model {
  std::string path;       // as it was asked for
  std::string directory;  // where its files lie
  bool is_directory = false;
  std::vector<Shard> shards;
  std::string index_name;  // "model.safetensors.index.json", or ""
  std::string index_json;
  ConfigText config;                      // config.json
  std::vector<ConfigText> quant_configs;  // quantize_config.json, quant_config.json

  std::unordered_map<std::string_view, TensorPlace> places;

  const TensorPlace* find(std::string_view name) const;
  const std::byte* data(const TensorPlace& place) const;
  // "directory/file: tensor 'name'", for messages.
  std::string label(const TensorPlace& place) const;
  // Bad input that says `why` unless the tensor has that shape.
  Status expect_shape(const TensorPlace& place, const std::vector<std::int64_t>& shape, std::string_view why) const;
  void drop(const TensorPlace& place) const { shards[place.shard].map.drop(data(place), place.tensor->bytes); }
};

// A .safetensors file, a *.index.json, or a directory. bad_input with the file and what is wrong with it.
Result<Model> open_model(const std::string& path);

// Shards in the order of an index's weight_map, each once; tensor names with their shard. bad_input for names that leave the directory.
struct Index {
  std::vector<std::string> shards;
  std::vector<std::pair<std::string, std::size_t>> tensors;
};
Result<Index> parse_index(std::string_view where, std::string_view json);

}  // namespace billfish::formats
