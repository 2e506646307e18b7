// SPDX-License-Identifier: Apache-2.0
#include "convert.hpp"

#include <fmt/core.h>

#include <filesystem>

#include "errors.hpp"
#include "json.hpp"
#include "library.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

// What the library's callbacks get as `user`.
struct Context {
  Progress* progress;
  const std::string* layers;
};

int want_layer(void* user, const char* layer) {
  const std::string& expression = *static_cast<Context*>(user)->layers;
  return expression.empty() || billfish_tools_match(expression.c_str(), layer) == 1;
}

int show(void* user, const char* layer, std::int64_t bytes_done, std::int64_t bytes_total) {
  return Progress::callback(static_cast<Context*>(user)->progress, layer, bytes_done, bytes_total);
}

// A bad expression, or one that no layer matches, is found before anything is written.
void check_expression(const std::string& path, const std::string& expression) {
  if (expression.empty()) return;
  if (billfish_tools_match(expression.c_str(), "") < 0) fail(kUsage, "--layers '{}': {}", expression, billfish_last_error());
  const Checkpoint checkpoint(path);
  for (std::int64_t i = 0; i < checkpoint.layers(); ++i) {
    if (billfish_tools_match(expression.c_str(), checkpoint.layer(i).name) == 1) return;
  }
  fail(kUsage, "--layers '{}' matches none of the {} layers of {}; `billfish inspect {}` lists them", expression, checkpoint.layers(), path,
       path);
}

}  // namespace

std::int64_t bytes_at(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return static_cast<std::int64_t>(std::filesystem::file_size(path, error));
  std::int64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path, error)) {
    if (entry.is_regular_file(error)) bytes += static_cast<std::int64_t>(entry.file_size(error));
  }
  return bytes;
}

void add_convert_options(Arguments& arguments, ConvertOptions& options) {
  arguments.add_option("in", options.in, "A .safetensors file, a shard index or a model directory").required().value_name("IN");
  arguments.add_option("out", options.out, "What to write: a file if IN is one, else a directory").required().value_name("OUT");
  arguments.add_option("--layers", options.layers, "Only layers whose name matches; the others are copied as they are").value_name("REGEX");
  add_threads_option(arguments, options.threads);
  arguments.add_flag("--skip-unsupported", options.skip_unsupported, "Copy unsupported layers as they are instead of failing");
  add_json_flag(arguments, options.json);
}

int convert(const ConvertOptions& options, const std::string& verb,
            const std::function<billfish_status(const billfish_convert_options*)>& call) {
  std::error_code error;
  if (std::filesystem::equivalent(options.in, options.out, error))
    fail(kUsage, "{} is both input and output: name another output", options.out);
  check_expression(options.in, options.layers);
  const Pool pool(options.threads);
  Progress progress(verb, options.json);
  Context context{&progress, &options.layers};
  billfish_convert_options library = BILLFISH_CONVERT_OPTIONS_INIT;
  library.want_layer = want_layer;
  library.skip_unsupported = options.skip_unsupported;
  library.progress = show;
  library.user = &context;
  library.parallel = pool.parallel();
  const billfish_status status = call(&library);
  progress.clear();
  check(status);

  const std::int64_t bytes_in = bytes_at(options.in), bytes_out = bytes_at(options.out);
  const double seconds = progress.seconds();
  if (options.json) {
    print_json(
        {{"schema", 1}, {"in", options.in}, {"out", options.out}, {"bytes_in", bytes_in}, {"bytes_out", bytes_out}, {"seconds", seconds}});
  } else {
    fmt::print("{}: {} from {} in {} ({}/s)\n", options.out, bytes_text(static_cast<double>(bytes_out)),
               bytes_text(static_cast<double>(bytes_in)), seconds_text(seconds), bytes_text(static_cast<double>(bytes_in) / seconds));
  }
  return kOk;
}

}  // namespace billfish::cli
