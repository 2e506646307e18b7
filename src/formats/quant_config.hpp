// SPDX-License-Identifier: Apache-2.0
// A quantisation config as its many writers spell it, reduced to what reading needs. Evidence, not truth: recognise.cpp holds every
// number against the shapes of the tensors. Called by recognise.cpp; calls nlohmann-json and pattern.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.hpp"
#include "formats/model.hpp"
#include "formats/pattern.hpp"

namespace billfish::formats {

enum class Method : std::uint8_t { none, gptq, awq, auto_round, compressed_tensors, other };

// What a layer may have been quantised with. bits 0 or group 0: not said.
struct Numbers {
  int bits = 0;
  std::int64_t group = 0;  // -1: one group
  std::optional<bool> symmetric;
};

struct QuantConfig {
  Method method = Method::none;
  std::string method_name;  // as spelled, lower case; "" if none
  std::string where;        // "config.json: quantization_config"
  std::string json = "{}";  // the config's own text, packed or not
  bool packed = false;      // written by pack_checkpoint around the source's config

  Numbers numbers;
  std::optional<bool> desc_act;
  std::string checkpoint_format;  // gptq, gptq_v2, marlin, ...
  std::string version;            // AWQ: gemm, gemv, gemv_fast, marlin
  std::string packing_format;     // AutoRound
  bool is_marlin = false;
  std::string ct_format;  // compressed-tensors: pack-quantized, float-quantized, ...

  // GPTQ `dynamic` and AutoRound `extra_config`: numbers of some layers.
  struct Rule {
    std::string expression;
    std::optional<Pattern> pattern;  // empty: the expression is beyond the matcher, or a plain name
    bool whole_name = false;         // a plain name
    Numbers numbers;
  };
  std::vector<Rule> rules;
  std::vector<Numbers> groups;  // compressed-tensors config_groups

  // Every pair of numbers that this layer may have, the likeliest first.
  std::vector<Numbers> candidates(std::string_view layer) const;
};

// `json` passed check_json_depth. bad_input naming `where`, the key and its value.
Result<QuantConfig> parse_quant_config(std::string_view where, std::string_view json);

// The config of a model: config.json, quantize_config.json, quant_config.json, or the file's own metadata, in this order.
Result<QuantConfig> find_quant_config(const Model& model);

inline constexpr std::string_view kConfigMembers[] = {"quantization_config", "compression_config"};  // of config.json

}  // namespace billfish::formats
