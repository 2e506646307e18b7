// SPDX-License-Identifier: Apache-2.0
// From tensors by name to layers: which tensors make up a quantised matrix, its shape, type and group. The shapes of the tensors decide;
// configs only break ties. Called by checkpoint.cpp and the converters; one function a storage (recognise_*.cpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.hpp"
#include "formats/checkpoint.hpp"
#include "formats/model.hpp"
#include "formats/packed_metadata.hpp"
#include "formats/quant_config.hpp"

namespace billfish::formats {

enum class Role : std::uint8_t { codes, scales, zeros, g_idx, perm, bias, weight_shape, other };

struct Part {
  Role role = Role::other;
  std::string suffix;  // "qweight"
  TensorPlace place;
};

struct Layer {
  LayerInfo info;
  MatrixShape shape;  // type as far as info.type is known
  std::vector<Part> parts;
  bool packed = false;              // written by pack_checkpoint
  Format source = Format::gptq_v1;  // of a packed layer
  bool version_from_zeros = false;  // AutoRound: whether zeros are GPTQ v1 or v2 shows in their values

  const Part* part(Role role) const;
};

struct Recognised {
  QuantConfig config;
  PackedLayers packed;
  std::vector<Layer> layers;             // in natural order of their names
  std::vector<TensorPlace> unquantized;  // in file order
};

Result<Recognised> recognise(const Model& model);

// F32, F16 or BF16; nothing for others.
std::optional<ElementType> element_type(std::string_view dtype);
// The order in which layers are listed: digits compare as numbers, so that layer 10 follows layer 9.
bool natural_less(std::string_view a, std::string_view b);

// --- for the recognise_*.cpp files

struct Evidence {
  const Model& model;
  const QuantConfig& config;
  const PackedLayers& packed;
};

const Part* find_part(const Layer& layer, std::string_view suffix);
// Gives the part its role; what it is must have been checked.
void assign(Layer& layer, std::string_view suffix, Role role);
void refuse(Layer& layer, std::string reason);
// "dir/model.safetensors: layer 'x'", for messages.
std::string label(const Evidence& evidence, const Layer& layer);

// Reads element i of an I32 or I64 tensor, wherever it is aligned.
std::int32_t read_i32(const std::byte* data, std::int64_t index);
std::int64_t read_i64(const std::byte* data, std::int64_t index);

// bad_input unless the tensor has this shape; `why` says what the shape follows from.
Status expect_shape(const Evidence& evidence, const Part& part, const std::vector<std::int64_t>& shape, std::string_view why);

// What all storages share once n, k, bits and the number of groups are known: group, g_idx, bias, scale type.
struct Common {
  std::int64_t groups = 0;
  std::vector<Numbers> candidates;
  std::string_view scales, g_idx;  // suffixes
};
Status finish_common(const Evidence& evidence, Layer& layer, const Common& common);

Status recognise_qweight(const Evidence& evidence, Layer& layer);             // qweight, scales: GPTQ, AWQ, Marlin
Status recognise_marlin(const Evidence& evidence, Layer& layer);              // B, s
Status recognise_packed(const Evidence& evidence, Layer& layer);              // ours
Status recognise_compressed_tensors(const Evidence& evidence, Layer& layer);  // weight_packed, weight_scale

}  // namespace billfish::formats
