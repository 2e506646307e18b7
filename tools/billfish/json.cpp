// SPDX-License-Identifier: Apache-2.0
#include "json.hpp"

#include <cstdio>

#include "product.hpp"

namespace billfish::cli {

void print_json(const Json& document) {
  const std::string text = document.dump(2, ' ', false, Json::error_handler_t::replace);
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
