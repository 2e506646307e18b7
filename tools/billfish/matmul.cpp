// SPDX-License-Identifier: Apache-2.0
// `billfish matmul`: y = x times one layer (+ its bias), from NumPy file to NumPy file.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "billfish/billfish_tools.h"
#include "chosen.hpp"
#include "commands.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "json.hpp"
#include "library.hpp"
#include "npy.hpp"
#include "options.hpp"
#include "product.hpp"
#include "text.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr float kLargestF16 = 65504.0f;

struct Options {
  std::string path, layer, input, out;
  ProductWords words;
  bool no_bias = false, json = false;
};

// The activations in the type that they go in with. Without --act: the file's own, but GPU kernels want 16 bits: f16, or bf16
// where f16 would overflow.
struct Activations {
  billfish_element_type type;
  std::vector<std::byte> bytes;
  std::int64_t m = 0;
  bool vector = false;  // x is [K], so y is [N]
};

Activations read_activations(const Options& options, std::int64_t k, Device device) {
  NpyArray x = read_npy(options.input);
  if (x.shape.empty() || x.shape.size() > 2 || x.shape.back() != k) {
    fail(kBadInput, "{} has shape {}: {} multiplies [{}] or [M, {}]", options.input, shape_text(x.shape), options.layer, k, k);
  }
  const std::int64_t m = x.shape.size() == 1 ? 1 : x.shape[0];
  Activations result{x.type, {}, m, x.shape.size() == 1};
  std::vector<float> values;
  const auto widen = [&] {
    values.resize(static_cast<std::size_t>(x.count()));
    billfish_tools_to_f32(x.bytes.data(), x.type, values.data(), x.count());
  };
  if (!options.words.act.empty()) {
    result.type = parse_element_type(options.words.act, "--act");
  } else if (device.kind == BILLFISH_CUDA && x.type == BILLFISH_F32) {
    widen();
    result.type = BILLFISH_F16;
    for (const float value : values) {
      if (std::isfinite(value) && std::abs(value) > kLargestF16) result.type = BILLFISH_BF16;
    }
  }
  if (result.type == x.type) {
    result.bytes = std::move(x.bytes);
  } else {
    widen();
    result.bytes.resize(static_cast<std::size_t>(x.count() * bytes_of(result.type)));
    billfish_tools_from_f32(values.data(), result.type, result.bytes.data(), x.count());
  }
  return result;
}

std::int64_t count_not_finite(const std::vector<std::byte>& y, billfish_element_type type) {
  std::vector<float> values(y.size() / static_cast<std::size_t>(bytes_of(type)));
  billfish_tools_to_f32(y.data(), type, values.data(), static_cast<std::int64_t>(values.size()));
  return std::ranges::count_if(values, [](float value) { return !std::isfinite(value); });
}

int run(Options options) {
  keep_inputs(options.out, "--out", {options.path, options.input});
  const Pool pool(options.words.threads);
  const Device device = choose_device(options.words.device);
  const billfish_element_type out_type = parse_element_type(options.words.out_type, "--out-type");
  const Checkpoint checkpoint(options.path);
  const billfish_matrix matrix = checkpoint.load(checkpoint.find(options.layer));
  const Activations x = read_activations(options, matrix.k, device);
  options.words.act = name_of(x.type);
  ProductOptions product = product_options(options.words, pool);
  product.bias = !options.no_bias;
  const PackedLayer packed(matrix, pool.parallel(), options.layer);

  std::vector<std::byte> y(static_cast<std::size_t>(x.m * matrix.n * bytes_of(out_type)));
  Product(packed, product).run(x.bytes.data(), x.m, y.data());
  const std::int64_t not_finite = count_not_finite(y, out_type);
  // NumPy has no bf16: such an output is stored as the f32 that it equals.
  billfish_element_type stored = out_type;
  if (out_type == BILLFISH_BF16) {
    std::vector<std::byte> widened(static_cast<std::size_t>(x.m * matrix.n) * sizeof(float));
    billfish_tools_to_f32(y.data(), out_type, reinterpret_cast<float*>(widened.data()), x.m * matrix.n);
    y = std::move(widened);
    stored = BILLFISH_F32;
  }
  const std::vector<std::int64_t> shape = x.vector ? std::vector{matrix.n} : std::vector{x.m, matrix.n};
  write_npy(options.out, stored, shape, y.data());

  const std::string implementation = chosen_implementation(packed.weights(), product, x.m);
  if (options.json) {
    print_json({{"schema", 1},
                {"layer", options.layer},
                {"m", x.m},
                {"n", matrix.n},
                {"k", matrix.k},
                {"type", name_of(matrix.type)},
                {"act", name_of(x.type)},
                {"out_type", name_of(out_type)},
                {"precision", options.words.precision},
                {"device", text_of(device)},
                {"implementation", implementation},
                {"not_finite", not_finite},
                {"out", options.out}});
  } else {
    fmt::print("{}: {} {} on {} by {}, activations {}, precision {}{}\n", options.out, name_of(stored), shape_text(shape), text_of(device),
               implementation.empty() ? "nothing (no rows)" : implementation, name_of(x.type), options.words.precision,
               not_finite > 0 ? fmt::format("; {} outputs are infinite or not a number", not_finite) : "");
  }
  return kOk;
}

}  // namespace

Runner add_matmul(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  options->words.act.clear();
  arguments.add_option("path", options->path, "A checkpoint, packed or not").required().value_name("PATH");
  arguments.add_option("layer", options->layer, "Module prefix, as `inspect` lists it").required().value_name("LAYER");
  arguments.add_option("--input", options->input, "NumPy file of activations: f32 or f16, [K] or [M,K]").required().value_name("X.npy");
  arguments.add_option("--out", options->out, "NumPy file to write: [N] or [M,N]").required().value_name("Y.npy");
  add_product_options(arguments, options->words);
  arguments.add_flag("--no-bias", options->no_bias, "Leave the layer's bias out");
  add_json_flag(arguments, options->json);
  arguments.footer(
      "Example:\n  billfish matmul my-model model.layers.0.mlp.up_proj --input x.npy --out y.npy\n"
      "Without --act, activations keep the file's type; on CUDA f32 becomes f16 (bf16 where f16 would overflow).");
  return [options] { return run(*options); };
}

}  // namespace billfish::cli
