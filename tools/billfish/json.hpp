// SPDX-License-Identifier: Apache-2.0
// JSON as the tool reads and writes it: keys in the order in which they were put in. What is slow to compile of it is in json.cpp.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace billfish::cli {

struct Comparison;

using Json = nlohmann::ordered_json;

// No object, array or other value if `text` is not JSON.
Json parse_json(std::string_view text);
// indent: spaces a level; -1: one line. Bytes that are no UTF-8 (a path may hold them) are replaced; numbers that are not finite become
// null.
std::string text_of_json(const Json& document, int indent = -1);
// What --json prints: one document on stdout.
void print_json(const Json& document);

Json to_json(const Comparison& comparison);

}  // namespace billfish::cli
