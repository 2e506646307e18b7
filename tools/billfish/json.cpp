// SPDX-License-Identifier: Apache-2.0
#include "json.hpp"

#include <cstdio>

#include "product.hpp"

namespace billfish::cli {

Json parse_json(std::string_view text) { return Json::parse(text, nullptr, false); }

std::string text_of_json(const Json& document, int indent) { return document.dump(indent, ' ', false, Json::error_handler_t::replace); }

void print_json(const Json& document) {
  const std::string text = text_of_json(document, 2);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
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
