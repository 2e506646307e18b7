// SPDX-License-Identifier: Apache-2.0
#include "types.hpp"

#include <iterator>
#include <span>

#include "errors.hpp"

namespace billfish::cli {
namespace {

template <typename Value>
struct Word {
  const char* word;
  Value value;
};

// The first word of a value is its name; the others are aliases.
constexpr Word<billfish_weight_type> kWeightTypes[] = {
    {"u4b8", BILLFISH_U4B8},    {"u4", BILLFISH_U4},    {"u8b128", BILLFISH_U8B128},    {"u8", BILLFISH_U8},
    {"uint4b8", BILLFISH_U4B8}, {"uint4", BILLFISH_U4}, {"uint8b128", BILLFISH_U8B128}, {"uint8", BILLFISH_U8},
};
constexpr Word<billfish_element_type> kElementTypes[] = {
    {"f32", BILLFISH_F32},  {"f16", BILLFISH_F16},     {"bf16", BILLFISH_BF16},     {"float32", BILLFISH_F32},
    {"half", BILLFISH_F16}, {"float16", BILLFISH_F16}, {"bfloat16", BILLFISH_BF16},
};
constexpr Word<billfish_precision> kPrecisions[] = {
    {"full", BILLFISH_PRECISION_FULL}, {"bf16", BILLFISH_PRECISION_BF16}, {"int8", BILLFISH_PRECISION_INT8}};
constexpr Word<billfish_format> kFormats[] = {{"gptq", BILLFISH_FORMAT_GPTQ}, {"gptq_v2", BILLFISH_FORMAT_GPTQ_V2},
                                              {"awq", BILLFISH_FORMAT_AWQ},   {"compressed-tensors", BILLFISH_FORMAT_COMPRESSED_TENSORS},
                                              {"raw", BILLFISH_FORMAT_RAW},   {"marlin", BILLFISH_FORMAT_MARLIN}};

template <typename Value>
Value parse(std::span<const Word<Value>> words, const std::string& text, const std::string& option) {
  std::string known;
  for (const auto& [word, value] : words) {
    if (text == word) return value;
    known += (known.empty() ? "" : ", ") + std::string(word);
  }
  fail(kUsage, "{} has the value '{}': use one of {}", option, text, known);
}

template <typename Value>
const char* name(std::span<const Word<Value>> words, Value wanted) {
  for (const auto& [word, value] : words) {
    if (value == wanted) return word;
  }
  return "unknown";
}

template <typename Value>
bool holds(std::span<const Word<Value>> words, const std::string& text) {
  for (const auto& entry : words) {
    if (text == entry.word) return true;
  }
  return false;
}

}  // namespace

billfish_weight_type parse_weight_type(const std::string& word, const std::string& option) {
  return parse<billfish_weight_type>(kWeightTypes, word, option);
}
billfish_element_type parse_element_type(const std::string& word, const std::string& option) {
  return parse<billfish_element_type>(kElementTypes, word, option);
}
billfish_precision parse_precision(const std::string& word, const std::string& option) {
  return parse<billfish_precision>(kPrecisions, word, option);
}
billfish_format parse_format(const std::string& word, const std::string& option) { return parse<billfish_format>(kFormats, word, option); }

const char* name_of(billfish_weight_type type) { return name<billfish_weight_type>(kWeightTypes, type); }
const char* name_of(billfish_element_type type) { return name<billfish_element_type>(kElementTypes, type); }
const char* name_of(billfish_precision precision) { return name<billfish_precision>(kPrecisions, precision); }
const char* name_of(billfish_format format) { return name<billfish_format>(kFormats, format); }
const char* name_of(billfish_device_kind kind) { return kind == BILLFISH_CPU ? "cpu" : "cuda"; }

bool is_type_word(const std::string& word) {
  return holds<billfish_weight_type>(kWeightTypes, word) || holds<billfish_element_type>(kElementTypes, word) ||
         holds<billfish_precision>(kPrecisions, word);
}
int bits_of(billfish_weight_type type) { return type == BILLFISH_U4B8 || type == BILLFISH_U4 ? 4 : 8; }
bool has_zeros(billfish_weight_type type) { return type == BILLFISH_U4 || type == BILLFISH_U8; }
int bytes_of(billfish_element_type type) { return type == BILLFISH_F32 ? 4 : 2; }

}  // namespace billfish::cli
