// SPDX-License-Identifier: Apache-2.0
// `billfish pack`: any readable checkpoint -> the same one in Marlin bytes.
#include <memory>

#include "commands.hpp"
#include "convert.hpp"

namespace billfish::cli {

Runner add_pack(Arguments& arguments) {
  auto options = std::make_shared<ConvertOptions>();
  add_convert_options(arguments, *options);
  arguments.footer(
      "Example:\n  billfish pack my-model my-model-packed\n  billfish pack my-model out --layers 'mlp\\.(up|gate)_proj$' "
      "--skip-unsupported");
  return [options] {
    return convert(*options, "packing", [&](const billfish_convert_options* library) {
      return billfish_tools_pack_checkpoint(options->in.c_str(), options->out.c_str(), library);
    });
  };
}

}  // namespace billfish::cli
