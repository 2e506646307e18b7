// SPDX-License-Identifier: Apache-2.0
// `billfish unpack`: Marlin bytes -> a checkpoint of another format, code for code.
#include <memory>

#include "commands.hpp"
#include "convert.hpp"
#include "errors.hpp"
#include "types.hpp"

namespace billfish::cli {

Runner add_unpack(Arguments& arguments) {
  auto options = std::make_shared<ConvertOptions>();
  auto format = std::make_shared<std::string>();
  add_convert_options(arguments, *options);
  arguments.add_option("--format", *format, "gptq, gptq_v2, awq or compressed-tensors; the format that the file came from if not given")
      .value_name("FORMAT");
  arguments.footer(
      "Example:\n  billfish unpack my-model-packed my-model-again\n  billfish unpack my-model-packed my-model-gptq --format gptq");
  return [options, format] {
    if (!format->empty() && parse_format(*format) == BILLFISH_FORMAT_RAW)
      fail(kUsage, "--format raw: a checkpoint cannot have it; see `billfish extract`");
    return convert(*options, "unpacking", [&](const billfish_convert_options* library) {
      return billfish_tools_unpack_checkpoint(options->in.c_str(), options->out.c_str(), format->empty() ? nullptr : format->c_str(),
                                              library);
    });
  };
}

}  // namespace billfish::cli
