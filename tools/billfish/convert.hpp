// SPDX-License-Identifier: Apache-2.0
// What `pack`, `unpack` and, in part, `quantize` share: choosing layers, progress, refusing to write over the input, the closing line.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "arguments.hpp"
#include "billfish/billfish_tools.h"

namespace billfish::cli {

struct ConvertOptions {
  std::string in, out, layers;  // layers: a regular expression, "" for all
  int threads = 0;
  bool skip_unsupported = false, json = false;
};

// Of a file, or of all files of a directory; 0 where nothing can be read.
std::int64_t bytes_at(const std::string& path);

void add_convert_options(Arguments& arguments, ConvertOptions& options);

// verb: "packing". `call` does the work with the options that it is given.
int convert(const ConvertOptions& options, const std::string& verb,
            const std::function<billfish_status(const billfish_convert_options*)>& call);

}  // namespace billfish::cli
