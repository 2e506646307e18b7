// SPDX-License-Identifier: Apache-2.0
// The library's enums as the words that people type and read.
#pragma once

#include <cstdint>
#include <string>

#include "billfish/billfish.h"

namespace billfish::cli {

// u4b8 u4 u8b128 u8, or the names of vLLM's scalar types. Each parser throws Failure(kUsage) that names `option` and the words.
billfish_weight_type parse_weight_type(const std::string& word, const std::string& option = "--type");
billfish_element_type parse_element_type(const std::string& word, const std::string& option);
billfish_precision parse_precision(const std::string& word, const std::string& option = "--precision");
billfish_format parse_format(const std::string& word, const std::string& option = "--format");

const char* name_of(billfish_weight_type type);
const char* name_of(billfish_element_type type);
const char* name_of(billfish_precision precision);
const char* name_of(billfish_format format);
const char* name_of(billfish_device_kind kind);

bool is_type_word(const std::string& word);  // any word of a weight type, an element type or a precision
int bits_of(billfish_weight_type type);
bool has_zeros(billfish_weight_type type);
int bytes_of(billfish_element_type type);

}  // namespace billfish::cli
