// SPDX-License-Identifier: Apache-2.0
// The options that several commands have, in the same words everywhere. Called by the add_ functions of the commands.
#pragma once

#include <string>

#include "arguments.hpp"
#include "product.hpp"

namespace billfish::cli {

void add_device_option(Arguments& arguments, std::string& device);
void add_threads_option(Arguments& arguments, int& threads);
void add_json_flag(Arguments& arguments, bool& json);

// The words on the command line that become ProductOptions.
struct ProductWords {
  std::string device, implementation, precision = "full", act = "f16", out_type = "f32";
  int threads = 0;
};
// --device --implementation --precision --act --out-type --threads
void add_product_options(Arguments& arguments, ProductWords& words);
ProductOptions product_options(const ProductWords& words, const Pool& pool);

}  // namespace billfish::cli
