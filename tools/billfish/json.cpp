// SPDX-License-Identifier: Apache-2.0
#include "json.hpp"

#include <cstdio>

namespace billfish::cli {

void add_json_flag(CLI::App& app, bool& json) { app.add_flag("--json", json, "Print JSON, and nothing else, on standard output"); }

void print_json(const Json& document) {
  const std::string text = document.dump(2, ' ', false, Json::error_handler_t::replace);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
}

}  // namespace billfish::cli
