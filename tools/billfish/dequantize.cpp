// SPDX-License-Identifier: Apache-2.0
// `billfish dequantize`: one layer as the f32 matrix [K,N] that it stands for, in a NumPy file.
#include <fmt/core.h>

#include <memory>

#include "commands.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "json.hpp"
#include "library.hpp"
#include "npy.hpp"
#include "options.hpp"
#include "text.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

struct Options {
  std::string path, layer, out;
  int threads = 0;
  bool json = false;
};

int run(const Options& options) {
  keep_inputs(options.out, "--out", {options.path});
  const Checkpoint checkpoint(options.path);
  const billfish_matrix matrix = checkpoint.load(checkpoint.find(options.layer));
  const Pool pool(options.threads);
  const PackedLayer packed(matrix, pool.parallel(), options.layer);
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(matrix.k, matrix.n, &bytes) || __builtin_mul_overflow(bytes, std::int64_t{4}, &bytes)) {
    fail(kUnsupported, "{}: {} x {} in f32 is more than 2^63 bytes", options.layer, matrix.k, matrix.n);
  }
  const Buffer weights(bytes);
  check(billfish_dequantize(&packed.weights(), weights.as<float>(), matrix.n, pool.parallel()), options.layer);
  write_npy(options.out, BILLFISH_F32, {matrix.k, matrix.n}, weights.data());
  if (options.json) {
    print_json(
        {{"schema", 1}, {"layer", options.layer}, {"k", matrix.k}, {"n", matrix.n}, {"type", name_of(matrix.type)}, {"out", options.out}});
  } else {
    fmt::print("{}: f32 {} from {}, {}\n", options.out, shape_text({matrix.k, matrix.n}), name_of(matrix.type),
               bytes_text(static_cast<double>(bytes)));
  }
  return kOk;
}

}  // namespace

Runner add_dequantize(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add_option("path", options->path, "A checkpoint, packed or not").required().value_name("PATH");
  arguments.add_option("layer", options->layer, "Module prefix, as `inspect` lists it").required().value_name("LAYER");
  arguments.add_option("--out", options->out, "The NumPy file to write: f32 [K,N] in original row order").required().value_name("W.npy");
  add_threads_option(arguments, options->threads);
  add_json_flag(arguments, options->json);
  arguments.footer("Example:\n  billfish dequantize my-model model.layers.0.mlp.up_proj --out w.npy");
  return [options] { return run(*options); };
}

}  // namespace billfish::cli
