// SPDX-License-Identifier: Apache-2.0
// What --json prints: one document on stdout, keys in the order in which they were put in.
#pragma once

#include <nlohmann/json.hpp>

namespace billfish::cli {

struct Comparison;

using Json = nlohmann::ordered_json;

// Bytes that are no UTF-8 (a path may hold them) are replaced; numbers that are not finite become null.
void print_json(const Json& document);

Json to_json(const Comparison& comparison);

}  // namespace billfish::cli
