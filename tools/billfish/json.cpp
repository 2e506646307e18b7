// SPDX-License-Identifier: Apache-2.0
#include "json.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "product.hpp"

namespace billfish::cli {
namespace {

int depth_of(std::string_view text) {
  int depth = 0, deepest = 0;
  bool string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (string) {
      if (c == '\\') ++i;
      string = c != '"';
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    } else {
      string = c == '"';
    }
  }
  return deepest;
}

}  // namespace

Json parse_json(std::string_view text) {
  if (text.find('\0') != std::string_view::npos || depth_of(text) > kDeepestJson) return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, false);
}

std::string text_of_json(const Json& document, int indent) { return document.dump(indent, ' ', false, Json::error_handler_t::replace); }

void print_json(const Json& document) {
  const std::string text = text_of_json(document, 2);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
}

double number_of(const Json& value, double otherwise) { return value.is_number() ? value.get<double>() : otherwise; }

double number_of(const Json& object, const char* name, double otherwise) {
  return object.contains(name) ? number_of(object[name], otherwise) : otherwise;
}

std::int64_t whole_of(double value) { return std::abs(value) <= static_cast<double>(kMostWhole) ? static_cast<std::int64_t>(value) : 0; }

std::int64_t whole_of(const Json& object, const char* name) { return whole_of(number_of(object, name)); }

std::string words_of(const Json& object, const char* name) {
  return object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : "";
}

Json to_json(const Comparison& comparison) {
  return {{"passed", comparison.passed},
          {"worst",
           {{"row", comparison.row},
            {"column", comparison.column},
            {"value", comparison.value},
            {"expected", comparison.expected},
            {"error", comparison.error},
            {"bound", comparison.bound},
            {"certain_bound", comparison.certain_bound}}},
          {"relative_error", comparison.relative_error},
          {"largest", comparison.largest}};
}

}  // namespace billfish::cli
