// SPDX-License-Identifier: Apache-2.0
// What --json prints: one document on stdout, keys in the order in which they were put in.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace billfish::cli {

using Json = nlohmann::ordered_json;

void add_json_flag(CLI::App& app, bool& json);
// Bytes that are no UTF-8 (a path may hold them) are replaced; numbers that are not finite become null.
void print_json(const Json& document);

}  // namespace billfish::cli
