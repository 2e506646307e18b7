// SPDX-License-Identifier: Apache-2.0
// billfish_tools_{pack,unpack,write}_checkpoint, billfish_tools_abandon_outputs, billfish_tools_match: formats/ with the packer handed in.
#include <string>
#include <vector>

#include "api/arguments.hpp"
#include "api/pack_functions.hpp"
#include "billfish/billfish_tools.h"
#include "formats/convert.hpp"
#include "formats/pattern.hpp"

namespace billfish::api {
namespace {

Status read_conversion(const char* in, const char* target, const billfish_convert_options* given, formats::ConvertOptions& out) {
  if (in == nullptr) return null_argument("in");
  if (target == nullptr) return null_argument("out");
  out.functions = pack_functions();
  if (given == nullptr) return {};
  billfish_convert_options options;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, "options", options));
  if (options.source_version != nullptr) return invalid_argument("options->source_version is set; reserved fields must be NULL");
  out.want_layer = options.want_layer;
  out.skip_unsupported = options.skip_unsupported != 0;
  out.progress = options.progress;
  out.user = options.user;
  return read_parallel(options.parallel, out.parallel);
}

Status write(const char* directory, const char* format, const billfish_named_matrix* layers, std::int64_t count) {
  if (directory == nullptr) return null_argument("directory");
  if (format == nullptr) return null_argument("format");
  if (count < 0) return invalid_argument("count is " + std::to_string(count) + "; it must be 0 or more");
  if (layers == nullptr && count > 0) return null_argument("layers");
  std::vector<formats::NamedMatrix> named;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string place = "layers[" + std::to_string(i) + "]";
    if (layers[i].name == nullptr) return null_argument((place + ".name").c_str());
    formats::NamedMatrix layer;
    layer.name = layers[i].name;
    BILLFISH_RETURN_IF_ERROR(read_matrix(layers[i].matrix, (place + ".matrix").c_str(), Pointers::required, layer.matrix));
    BILLFISH_RETURN_IF_ERROR(require_cpu((place + ".matrix->device_kind").c_str(), layer.matrix.device));
    named.push_back(std::move(layer));
  }
  return formats::write_checkpoint(directory, format, named, pack_functions(), Parallel());
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_tools_pack_checkpoint(const char* in, const char* out, const billfish_convert_options* options) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    formats::ConvertOptions converted;
    BILLFISH_RETURN_IF_ERROR(api::read_conversion(in, out, options, converted));
    return formats::pack_checkpoint(in, out, converted);
  });
}

billfish_status billfish_tools_unpack_checkpoint(const char* in, const char* out, const char* format,
                                                 const billfish_convert_options* options) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    formats::ConvertOptions converted;
    BILLFISH_RETURN_IF_ERROR(api::read_conversion(in, out, options, converted));
    return formats::unpack_checkpoint(in, out, format != nullptr ? format : "", converted);
  });
}

void billfish_tools_abandon_outputs(void) { billfish::formats::abandon_outputs(); }

int billfish_tools_match(const char* expression, const char* text) {
  using namespace billfish;
  int answer = -1;
  const billfish_status status = api::guarded([&]() -> Status {
    if (expression == nullptr) return api::null_argument("expression");
    if (text == nullptr) return api::null_argument("text");
    const Result<formats::Pattern> pattern = formats::Pattern::compile(expression);
    if (!pattern.ok()) return pattern.status();
    answer = pattern->search(text) ? 1 : 0;
    return {};
  });
  return status == BILLFISH_OK ? answer : -1;
}

billfish_status billfish_tools_write_checkpoint(const char* directory, const char* format, const billfish_named_matrix* layers,
                                                int64_t count) {
  return billfish::api::guarded([&] { return billfish::api::write(directory, format, layers, count); });
}

}  // extern "C"
