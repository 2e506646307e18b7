// SPDX-License-Identifier: Apache-2.0
// billfish_checkpoint_*: an open checkpoint behind an opaque handle. Reading it changes nothing, so any thread may.
#include "formats/checkpoint.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "api/arguments.hpp"
#include "api/checkpoint_handle.hpp"

namespace billfish::api {
namespace {

Status check_handle(const billfish_checkpoint* checkpoint) { return checkpoint != nullptr ? Status() : null_argument("checkpoint"); }

template <class List>
Status check_index(std::int64_t index, const List& list, const char* what) {
  if (index >= 0 && index < static_cast<std::int64_t>(list.size())) return {};
  return invalid_argument("index is " + std::to_string(index) + "; this checkpoint has " + std::to_string(list.size()) + " " + what);
}

Status open(const char* path, billfish_checkpoint** out) {
  if (out == nullptr) return null_argument("out");
  *out = nullptr;
  if (path == nullptr) return null_argument("path");
  Result<std::unique_ptr<formats::Checkpoint>> opened = formats::open_checkpoint(path);
  if (!opened.ok()) return opened.status();
  if (logging()) log(BILLFISH_LOG_INFO, std::string("opened ") + path + ": " + opened.value()->format() + ", " + opened.value()->why());
  *out = new billfish_checkpoint{std::move(opened).value()};
  return {};
}

Status describe_layer(const billfish_checkpoint* checkpoint, std::int64_t index, billfish_layer_info* out) {
  BILLFISH_RETURN_IF_ERROR(check_handle(checkpoint));
  BILLFISH_RETURN_IF_ERROR(check_size(out, "out"));
  const auto& layers = checkpoint->opened->layers();
  BILLFISH_RETURN_IF_ERROR(check_index(index, layers, "quantised layers"));
  const formats::LayerInfo& layer = layers[static_cast<std::size_t>(index)];
  billfish_layer_info info = BILLFISH_LAYER_INFO_INIT;
  info.name = layer.name.c_str();
  info.format = static_cast<billfish_format>(layer.format);
  info.type = static_cast<billfish_weight_type>(layer.type);
  info.n = layer.n;
  info.k = layer.k;
  info.group = layer.group;
  info.act_order = layer.act_order;
  info.zero_points = layer.zero_points;
  info.bias = layer.bias;
  info.type_from_config = layer.type_from_config;
  info.scale_type = static_cast<billfish_element_type>(layer.scale_type);
  info.bytes = layer.bytes;
  info.supported = layer.supported;
  info.reason = layer.reason.c_str();
  write_struct(info, out);
  return {};
}

Status describe_tensor(const billfish_checkpoint* checkpoint, std::int64_t index, billfish_tensor_info* out) {
  BILLFISH_RETURN_IF_ERROR(check_handle(checkpoint));
  BILLFISH_RETURN_IF_ERROR(check_size(out, "out"));
  const auto& tensors = checkpoint->opened->unquantized();
  BILLFISH_RETURN_IF_ERROR(check_index(index, tensors, "unquantised tensors"));
  const formats::TensorInfo& tensor = tensors[static_cast<std::size_t>(index)];
  billfish_tensor_info info = BILLFISH_TENSOR_INFO_INIT;
  info.name = tensor.name.c_str();
  info.dtype = tensor.dtype.c_str();
  info.shape = tensor.shape.data();
  info.rank = static_cast<int>(tensor.shape.size());
  info.bytes = tensor.bytes;
  write_struct(info, out);
  return {};
}

// Levenshtein's distance with one row: how many letters a person mistyped.
std::size_t distance(std::string_view left, std::string_view right) {
  std::vector<std::size_t> row(right.size() + 1);
  for (std::size_t j = 0; j <= right.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= left.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= right.size(); ++j) {
      const std::size_t replaced = diagonal + (left[i - 1] != right[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

std::string nearest_names(const std::vector<formats::LayerInfo>& layers, std::string_view name) {
  constexpr std::size_t kShown = 3, kLongest = 256, kCompared = 4096;  // bounds the work on hostile files
  std::vector<std::pair<std::size_t, const std::string*>> ranked;
  for (std::size_t i = 0; i < std::min(layers.size(), kCompared); ++i) {
    const std::string& candidate = layers[i].name;
    // A part of a name (up_proj) is nearer than any misspelling of the whole.
    const bool part = candidate.find(name) != std::string::npos;
    ranked.emplace_back(part ? 0 : distance(name.substr(0, kLongest), std::string_view(candidate).substr(0, kLongest)), &candidate);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
  std::string text;
  for (std::size_t i = 0; i < std::min(ranked.size(), kShown); ++i) text += (i == 0 ? "" : ", ") + *ranked[i].second;
  return text;
}

Status find(const billfish_checkpoint* checkpoint, const char* name, std::int64_t* index) {
  BILLFISH_RETURN_IF_ERROR(check_handle(checkpoint));
  if (name == nullptr) return null_argument("name");
  if (index == nullptr) return null_argument("index");
  *index = -1;
  const auto& layers = checkpoint->opened->layers();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].name == name) {
      *index = static_cast<std::int64_t>(i);
      return {};
    }
  }
  if (layers.empty()) return bad_input("there is no layer \"" + std::string(name) + "\": this checkpoint has no quantised layers");
  return bad_input("there is no quantised layer \"" + std::string(name) + "\"; the nearest of " + std::to_string(layers.size()) +
                   " are: " + nearest_names(layers, name));
}

Status load(const billfish_checkpoint* checkpoint, std::int64_t index, billfish_matrix* out) {
  BILLFISH_RETURN_IF_ERROR(check_handle(checkpoint));
  BILLFISH_RETURN_IF_ERROR(check_size(out, "out"));
  BILLFISH_RETURN_IF_ERROR(check_index(index, checkpoint->opened->layers(), "quantised layers"));
  const Result<QuantizedMatrix> matrix = checkpoint->opened->load(index);
  if (!matrix.ok()) return matrix.status();
  billfish_matrix filled = BILLFISH_MATRIX_INIT;
  write_matrix(*matrix, filled);
  write_struct(filled, out);
  return {};
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_checkpoint_open(const char* path, billfish_checkpoint** out) {
  return billfish::api::guarded([&] { return billfish::api::open(path, out); });
}

void billfish_checkpoint_close(billfish_checkpoint* checkpoint) { delete checkpoint; }

const char* billfish_checkpoint_format(const billfish_checkpoint* checkpoint) {
  return checkpoint != nullptr ? checkpoint->opened->format().c_str() : "";
}

const char* billfish_checkpoint_why(const billfish_checkpoint* checkpoint) {
  return checkpoint != nullptr ? checkpoint->opened->why().c_str() : "";
}

const char* billfish_checkpoint_config(const billfish_checkpoint* checkpoint) {
  return checkpoint != nullptr ? checkpoint->opened->config().c_str() : "{}";
}

int64_t billfish_checkpoint_layers(const billfish_checkpoint* checkpoint) {
  return checkpoint != nullptr ? static_cast<int64_t>(checkpoint->opened->layers().size()) : 0;
}

billfish_status billfish_checkpoint_layer(const billfish_checkpoint* checkpoint, int64_t index, billfish_layer_info* out) {
  return billfish::api::guarded([&] { return billfish::api::describe_layer(checkpoint, index, out); });
}

billfish_status billfish_checkpoint_find(const billfish_checkpoint* checkpoint, const char* name, int64_t* index) {
  return billfish::api::guarded([&] { return billfish::api::find(checkpoint, name, index); });
}

int64_t billfish_checkpoint_tensors(const billfish_checkpoint* checkpoint) {
  return checkpoint != nullptr ? static_cast<int64_t>(checkpoint->opened->unquantized().size()) : 0;
}

billfish_status billfish_checkpoint_tensor(const billfish_checkpoint* checkpoint, int64_t index, billfish_tensor_info* out) {
  return billfish::api::guarded([&] { return billfish::api::describe_tensor(checkpoint, index, out); });
}

billfish_status billfish_checkpoint_load(const billfish_checkpoint* checkpoint, int64_t index, billfish_matrix* out) {
  return billfish::api::guarded([&] { return billfish::api::load(checkpoint, index, out); });
}

}  // extern "C"
