// SPDX-License-Identifier: Apache-2.0
// Reads quantisation configs; a key of the wrong kind is refused, an unknown key is not our business.
#include "formats/quant_config.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "formats/json_text.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kLargestGroup = std::int64_t{1} << 40;
constexpr std::size_t kMostRules = 10000;

std::string lower(std::string_view word) {
  std::string out(word);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

// Members of one object, by the first of several spellings; null counts as absent. The first wrong kind is remembered.
class Members {
 public:
  Members(std::string_view where, const Json& object) : where_(where), object_(object) {}

  std::optional<std::int64_t> integer(std::initializer_list<const char*> names) {
    const Json* value = find(names);
    if (!value) return std::nullopt;
    if (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      wrong("a number in range");
      return std::nullopt;
    }
    if (value->is_number_integer()) return value->get<std::int64_t>();
    wrong("a whole number");
    return std::nullopt;
  }
  std::optional<bool> boolean(std::initializer_list<const char*> names) {
    const Json* value = find(names);
    if (!value) return std::nullopt;
    if (value->is_boolean()) return value->get<bool>();
    wrong("true or false");
    return std::nullopt;
  }
  std::string word(std::initializer_list<const char*> names) {
    const Json* value = find(names);
    if (!value) return "";
    if (value->is_string()) return lower(value->get_ref<const std::string&>());
    wrong("a string");
    return "";
  }
  const Json* object(const char* name) {
    const Json* value = find({name});
    if (value && !value->is_object()) wrong("an object");
    return value && value->is_object() ? value : nullptr;
  }
  Numbers numbers() {
    Numbers out;
    if (const auto bits = integer({"bits", "w_bit", "num_bits"})) {
      if (*bits < 1 || *bits > 16) {
        wrong("a number of bits from 1 to 16");
      } else {
        out.bits = static_cast<int>(*bits);
      }
    }
    if (const auto group = integer({"group_size", "q_group_size"})) {
      if ((*group < 1 && *group != -1) || *group > kLargestGroup) {
        wrong("-1 or a positive group size");
      } else {
        out.group = *group;
      }
    }
    out.symmetric = boolean({"sym", "symmetric"});
    return out;
  }
  const std::string& error() const { return error_; }

 private:
  const Json* find(std::initializer_list<const char*> names) {
    for (const char* name : names) {
      const auto found = object_.find(name);
      if (found == object_.end() || found->is_null()) continue;
      name_ = name;
      value_ = &*found;
      return value_;
    }
    return nullptr;
  }
  void wrong(std::string_view expected) {
    if (!error_.empty()) return;
    const std::string value = value_->dump(-1, ' ', true, Json::error_handler_t::replace);
    error_ = text(where_, ": ", name_, " is ", value.substr(0, 60), ", but must be ", expected);
  }
  std::string where_;
  const Json& object_;
  const char* name_ = "";
  const Json* value_ = nullptr;
  std::string error_;
};

Method method_of(std::string_view name) {
  if (name == "gptq" || name == "marlin" || name == "gptq_marlin") return Method::gptq;
  if (name == "awq" || name == "awq_marlin") return Method::awq;
  if (name == "auto-round" || name == "intel/auto-round" || name == "autoround") return Method::auto_round;
  if (name == "compressed-tensors") return Method::compressed_tensors;
  return Method::other;
}

Status read_rules(QuantConfig& config, const Json& object, bool expressions) {
  if (object.size() > kMostRules) {
    return bad_input(text(config.where, ": ", object.size(), " per-layer rules; at most ", kMostRules, " are supported"));
  }
  for (const auto& [key, value] : object.items()) {
    if (!value.is_object()) continue;  // GPTQ: {} or false with the prefix "-:"; AutoRound: a bare number of bits
    QuantConfig::Rule rule;
    rule.expression = key;
    std::string_view expression = key;
    if (expressions && expression.starts_with("-:")) continue;  // not quantised: the tensors say so themselves
    if (expressions && expression.starts_with("+:")) expression.remove_prefix(2);
    if (expressions) {
      Result<Pattern> pattern = Pattern::compile(expression);
      if (pattern.ok()) rule.pattern = std::move(*pattern);
    } else {
      rule.whole_name = true;
    }
    Members members(text(config.where, ": rule ", quote(key)), value);
    rule.numbers = members.numbers();
    if (!members.error().empty()) return bad_input(members.error());
    config.rules.push_back(std::move(rule));
  }
  return {};
}

Status read_config_groups(QuantConfig& config, const Json& groups) {
  for (const auto& [name, group] : groups.items()) {
    if (!group.is_object()) return bad_input(text(config.where, ": config_groups.", quote(name), " is not an object"));
    const auto weights = group.find("weights");
    if (weights == group.end() || weights->is_null()) continue;
    const std::string where = text(config.where, ": config_groups.", name, ".weights");
    if (!weights->is_object()) return bad_input(text(where, " is not an object"));
    Members members(where, *weights);
    Numbers numbers = members.numbers();
    const std::string strategy = members.word({"strategy"});
    if (!members.error().empty()) return bad_input(members.error());
    if (numbers.group == 0 || strategy == "channel" || strategy == "tensor") numbers.group = -1;
    config.groups.push_back(numbers);
  }
  return {};
}

}  // namespace

Result<QuantConfig> parse_quant_config(std::string_view where, std::string_view json) {
  QuantConfig config;
  config.where = where;
  config.json = json;
  const Json root = Json::parse(json, nullptr, false);
  if (root.is_discarded()) return bad_input(text(where, ": not valid JSON"));
  if (!root.is_object()) return bad_input(text(where, ": not an object"));
  Members members(where, root);
  config.method_name = members.word({"quant_method", "method"});
  if (config.method_name == "billfish") {
    const std::string_view source = json_member(json, "source");
    if (source.empty()) return bad_input(text(where, ": quant_method is billfish, but there is no source"));
    const Json* inner = members.object("source");
    if (inner && inner->value("quant_method", Json()) == "billfish") return bad_input(text(where, ": source is itself billfish"));
    Result<QuantConfig> parsed = inner ? parse_quant_config(text(where, ".source"), source) : Result<QuantConfig>(QuantConfig{});
    if (parsed.ok()) {
      parsed->packed = true;
      parsed->json = json;
    }
    return parsed;
  }
  config.numbers = members.numbers();
  config.desc_act = members.boolean({"desc_act"});
  config.checkpoint_format = members.word({"checkpoint_format"});
  config.version = members.word({"version"});
  config.packing_format = members.word({"packing_format"});
  config.ct_format = members.word({"format"});
  config.is_marlin =
      members.boolean({"is_marlin_format"}).value_or(false) || config.checkpoint_format == "marlin" || config.version == "marlin";
  if (config.version.empty() && method_of(config.method_name) == Method::awq) {
    config.version = config.checkpoint_format.empty() ? config.ct_format : config.checkpoint_format;  // as gptqmodel writes AWQ
    config.is_marlin = config.is_marlin || config.version == "marlin";
  }
  const Json* dynamic = members.object("dynamic");
  const Json* extra = members.object("extra_config");
  const Json* groups = members.object("config_groups");
  if (!members.error().empty()) return bad_input(members.error());
  if (config.method_name.empty()) {
    // Configs of AutoGPTQ and AutoAWQ before quant_method existed.
    config.method = root.contains("w_bit") || root.contains("zero_point") ? Method::awq
                    : groups                                              ? Method::compressed_tensors
                    : config.numbers.bits != 0                            ? Method::gptq
                                                                          : Method::other;
  } else {
    config.method = method_of(config.method_name);
  }
  if (dynamic) BILLFISH_RETURN_IF_ERROR(read_rules(config, *dynamic, true));
  if (extra) BILLFISH_RETURN_IF_ERROR(read_rules(config, *extra, false));
  if (groups && config.method == Method::compressed_tensors) BILLFISH_RETURN_IF_ERROR(read_config_groups(config, *groups));
  return Result<QuantConfig>(std::move(config));
}

Result<QuantConfig> find_quant_config(const Model& model) {
  if (!model.config.name.empty()) {
    for (const std::string_view member : kConfigMembers) {
      const std::string_view value = json_member(model.config.json, member);
      if (value.empty() || value == "null") continue;
      return parse_quant_config(text((model.directory.empty() ? "" : model.directory + "/"), "config.json: ", member), value);
    }
  }
  if (!model.quant_configs.empty()) {
    const ConfigText& found = model.quant_configs.front();
    return parse_quant_config(text((model.directory.empty() ? "" : model.directory + "/"), found.name), found.json);
  }
  for (const Shard& shard : model.shards) {
    const std::string* value = shard.header.find_metadata("quantization_config");
    if (!value) continue;
    const std::string where = text(shard.map.path(), ": __metadata__.quantization_config");
    BILLFISH_RETURN_IF_ERROR(check_json_depth(where, *value));
    return parse_quant_config(where, *value);
  }
  return Result<QuantConfig>(QuantConfig{});
}

std::vector<Numbers> QuantConfig::candidates(std::string_view layer) const {
  std::vector<Numbers> likely, possible;
  const auto add = [this](std::vector<Numbers>& to, Numbers some) {
    if (some.bits == 0) some.bits = numbers.bits;
    if (some.group == 0) some.group = numbers.group;
    if (!some.symmetric) some.symmetric = numbers.symmetric;
    to.push_back(some);
  };
  for (const Rule& rule : rules) {
    const bool applies = rule.whole_name ? rule.expression == layer : rule.pattern && rule.pattern->starts(layer);
    add(applies ? likely : possible, rule.numbers);
  }
  if (groups.empty()) add(likely, numbers);
  for (const Numbers& group : groups) add(likely, group);
  likely.insert(likely.end(), possible.begin(), possible.end());
  return likely;
}

}  // namespace billfish::formats
