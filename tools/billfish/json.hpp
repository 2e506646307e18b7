// SPDX-License-Identifier: Apache-2.0
// JSON as the tool reads and writes it: keys in the order in which they were put in. What is slow to compile of it is in json.cpp.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace billfish::cli {

struct Comparison;

using Json = nlohmann::ordered_json;

// Discarded (is_discarded()) if `text` is not JSON, holds a byte of 0, where the parser would end, or is nested deeper than kDeepestJson:
// copying and writing recurse.
constexpr int kDeepestJson = 64;
Json parse_json(std::string_view text);
// indent: spaces a level; -1: one line. Bytes that are no UTF-8 (a path may hold them) are replaced; numbers that are not finite become
// null.
std::string text_of_json(const Json& document, int indent = -1);
// What --json prints: one document on stdout.
void print_json(const Json& document);

constexpr std::int64_t kMostWhole = std::int64_t{1} << 53;  // as far as JSON's numbers are whole for everybody
// Members of an object, for documents where what is missing or of another kind is simply not known; members.hpp refuses such.
double number_of(const Json& value, double otherwise);
double number_of(const Json& object, const char* name, double otherwise = 0);
std::int64_t whole_of(double value);  // 0 if it is beyond kMostWhole
std::int64_t whole_of(const Json& object, const char* name);
std::string words_of(const Json& object, const char* name);

Json to_json(const Comparison& comparison);

}  // namespace billfish::cli
