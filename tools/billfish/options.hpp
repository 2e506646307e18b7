// SPDX-License-Identifier: Apache-2.0
// The options that several commands have, in the same words everywhere. Only files that register commands include this: CLI11 is slow to
// compile.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

#include "product.hpp"

namespace billfish::cli {

void add_device_option(CLI::App& app, std::string& device);
void add_threads_option(CLI::App& app, int& threads);
void add_json_flag(CLI::App& app, bool& json);

// The words on the command line that become ProductOptions.
struct ProductWords {
  std::string device, implementation, precision = "full", act = "f16", out_type = "f32";
  int threads = 0;
};
// --device --implementation --precision --act --out-type --threads
void add_product_options(CLI::App& app, ProductWords& words);
void add_threads_option(CLI::App& app, int& threads);
ProductOptions product_options(const ProductWords& words, const Pool& pool);

}  // namespace billfish::cli
