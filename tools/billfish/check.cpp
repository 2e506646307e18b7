// SPDX-License-Identifier: Apache-2.0
// `billfish check r|b GROUPSIZE`: the smoke test that users of the original kernel run, on random or on raw weights, held against
// the oracle instead of being looked at.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "billfish/billfish_tools.h"
#include "chosen.hpp"
#include "commands.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "json.hpp"
#include "library.hpp"
#include "options.hpp"
#include "product.hpp"
#include "random.hpp"
#include "raw_files.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kShownWeights = 8;
constexpr std::int64_t kShownOutputs = 20;
constexpr std::int64_t kLargestSize = std::int64_t{1} << 40;  // of M, K and N: their products are checked where memory is asked for

struct Options {
  std::string source, type = "u4b8", qweight = "up_proj_qweight.bin", scales;
  std::int64_t group = 0, m = 1, k = 2048, n = 11008;
  std::uint64_t seed = 1;
  ProductWords words;
  bool json = false;
};

// One GPTQ layer's codes and scales, wherever they come from.
struct Raw {
  billfish_weight_type type;
  std::int64_t groups;
  std::vector<std::byte> codes, scales;
};

Raw random_layer(const Options& options, Raw raw, std::int64_t code_bytes) {
  Random random(options.seed);
  raw.codes.resize(static_cast<std::size_t>(code_bytes));
  for (std::size_t i = 0; i < raw.codes.size(); i += sizeof(std::uint32_t)) {
    const auto word = static_cast<std::uint32_t>(random.bits());
    std::memcpy(raw.codes.data() + i, &word, sizeof word);
  }
  std::vector<float> scales(static_cast<std::size_t>(raw.groups * options.n));
  for (float& scale : scales) scale = random.uniform(0.002f, 0.02f);  // what 4-bit layers of real models have
  raw.scales.resize(scales.size() * 2);
  billfish_tools_from_f32(scales.data(), BILLFISH_F16, raw.scales.data(), raw.groups * options.n);
  return raw;
}

Raw layer_from_files(const Options& options, Raw raw, std::int64_t code_bytes) {
  const std::int64_t bits = bits_of(raw.type), grouped_bytes = raw.groups * options.n * 2, percolumn_bytes = options.n * 2;
  std::string scales = options.scales;
  if (scales.empty()) scales = options.group < 0 ? "up_proj_scales_percolumn.bin" : "up_proj_scales.bin";
  raw.codes = read_exactly(options.qweight, code_bytes,
                           fmt::format("int32 [K/{}, N] of K={}, N={} in {} bits", 32 / bits, options.k, options.n, bits),
                           "give the layer's --k and --n");
  const std::int64_t size = file_size(scales);
  std::string hint = "give the layer's --k and --n and the right group size";
  if (options.group > 0 && size == percolumn_bytes) {
    hint = "that is one scale a column: run `billfish check b -1`, or give the grouped file";
  } else if (options.group < 0 && size > 0 && size % percolumn_bytes == 0) {
    hint =
        fmt::format("that looks like {} groups: average them with `billfish percolumn`, or give their group size", size / percolumn_bytes);
  }
  raw.scales = read_exactly(scales, grouped_bytes,
                            fmt::format("f16 [{}, {}] (K={}, group {})", raw.groups, options.n, options.k, options.group), hint);
  refuse_not_finite(scales, raw.scales, options.n);
  return raw;
}

billfish_matrix describe(const Options& options, const Raw& raw) {
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
  matrix.format = BILLFISH_FORMAT_GPTQ;
  matrix.type = raw.type;
  matrix.n = options.n;
  matrix.k = options.k;
  matrix.group = options.group;
  matrix.codes = raw.codes.data();
  matrix.scales = raw.scales.data();
  matrix.scale_type = BILLFISH_F16;
  matrix.codes_bytes = static_cast<std::int64_t>(raw.codes.size());
  matrix.scales_bytes = static_cast<std::int64_t>(raw.scales.size());
  return matrix;
}

std::string joined(const std::vector<float>& values) {
  std::string text;
  for (const float value : values) text += fmt::format(" {:.6g}", value);
  return text;
}

// What people compare by eye with another implementation.
struct Shown {
  std::vector<std::string> words;
  std::vector<float> weights, scales, outputs;
};

Shown first_ones(const Options& options, const Raw& raw, const std::vector<std::byte>& c, billfish_element_type c_type) {
  Shown shown;
  const std::int64_t bits = bits_of(raw.type), zero = raw.type == BILLFISH_U4B8 ? 8 : 128, count = std::min(kShownWeights, options.n);
  shown.scales.resize(static_cast<std::size_t>(count));
  billfish_tools_to_f32(raw.scales.data(), BILLFISH_F16, shown.scales.data(), count);
  for (std::int64_t n = 0; n < count; ++n) {  // row k = 0 is the lowest field of the first row of words
    std::uint32_t word = 0;
    std::memcpy(&word, raw.codes.data() + n * 4, sizeof word);
    shown.words.push_back(fmt::format("{:08x}", word));
    shown.weights.push_back(shown.scales[n] * static_cast<float>(static_cast<std::int64_t>(word & ((1u << bits) - 1)) - zero));
  }
  shown.outputs.resize(static_cast<std::size_t>(std::min(kShownOutputs, options.m == 0 ? 0 : options.n)));
  billfish_tools_to_f32(c.data(), c_type, shown.outputs.data(), static_cast<std::int64_t>(shown.outputs.size()));
  return shown;
}

void print_text(const Options& options, const Raw& raw, const Shown& shown, const Comparison& result, const std::string& where) {
  fmt::print("check {} {}: M={} K={} N={} {} in {} group{} on {}\n", options.source, options.group, options.m, options.k, options.n,
             name_of(raw.type), raw.groups, raw.groups == 1 ? "" : "s", where);
  std::string words;
  for (const std::string& word : shown.words) words += " " + word;
  fmt::print("first words of codes:{}\nfirst weights (k = 0):{}\nfirst scales:{}\n", words, joined(shown.weights), joined(shown.scales));
  fmt::print("first {} outputs:{}\n", shown.outputs.size(), joined(shown.outputs));
  fmt::print("largest absolute output: {:.6g}\n", result.largest);
  fmt::print("worst element: row {} column {}: {:.9g}, oracle {:.9g}, error {:.3g}, bound {:.3g} (whatever the data: {:.3g})\n", result.row,
             result.column, result.value, result.expected, result.error, result.bound, result.certain_bound);
  fmt::print("relative error: {:.3g}\n{}\n", result.relative_error, result.passed ? "PASSED" : "FAILED");
}

int run(const Options& options) {
  if (options.source != "r" && options.source != "b") fail(kUsage, "'{}' is neither r (random weights) nor b (raw files)", options.source);
  if (options.group == 0 || options.group < -1)
    fail(kUsage, "the group size is {}: use -1 (one scale a column) or a positive number", options.group);
  if (options.m < 0 || options.k < 1 || options.n < 1)
    fail(kUsage, "M={} K={} N={}: K and N must be positive, M not negative", options.m, options.k, options.n);
  if (options.m > kLargestSize || options.k > kLargestSize || options.n > kLargestSize) {
    fail(kUsage, "M={} K={} N={}: sizes up to {} are possible", options.m, options.k, options.n, kLargestSize);
  }
  const billfish_weight_type type = parse_weight_type(options.type);
  if (has_zeros(type)) fail(kUsage, "--type {}: the raw files hold symmetric weights, u4b8 or u8b128", options.type);
  const std::int64_t bits = bits_of(type);
  if (options.k * bits % 32 != 0)
    fail(kUsage, "--k {}: raw codes are whole int32 words, so K must be a multiple of {}", options.k, 32 / bits);
  std::int64_t code_bytes = 0;
  if (__builtin_mul_overflow(options.k * bits / 8, options.n, &code_bytes)) fail(kUsage, "K={} N={} is too large", options.k, options.n);
  Raw raw{type, groups_of(options.k, options.group), {}, {}};
  raw = options.source == "r" ? random_layer(options, std::move(raw), code_bytes) : layer_from_files(options, std::move(raw), code_bytes);

  const Pool pool(options.words.threads);
  const ProductOptions product = product_options(options.words, pool);
  const PackedLayer packed(describe(options, raw), pool.parallel(), options.source == "b" ? options.qweight : "random weights");
  const auto a = random_activations(options.m, options.k, product.a_type, options.seed + 1);
  std::vector<std::byte> c(static_cast<std::size_t>(options.m * options.n * bytes_of(product.c_type)));
  const std::string implementation = chosen_implementation(packed.weights(), product, options.m);
  if (implementation == "reference" && options.words.implementation.empty()) {
    fail(kUnsupported,
         "no kernel runs this problem, only the reference, which the check holds it against: groups are -1 or multiples of 16");
  }
  Product(packed, product).run(a.data(), options.m, c.data());
  const Comparison result = compare_with_oracle(packed, product, a.data(), options.m, c.data(), 0, options.n);
  const Shown shown = first_ones(options, raw, c, product.c_type);
  if (options.json) {
    Json document = {{"schema", 1},
                     {"source", options.source},
                     {"group", options.group},
                     {"m", options.m},
                     {"k", options.k},
                     {"n", options.n},
                     {"type", name_of(type)},
                     {"device", text_of(product.device)},
                     {"implementation", implementation},
                     {"words", shown.words},
                     {"weights", shown.weights},
                     {"scales", shown.scales},
                     {"outputs", shown.outputs}};
    document.update(to_json(result));
    print_json(document);
  } else {
    print_text(options, raw, shown, result, text_of(product.device) + (implementation.empty() ? "" : " by " + implementation));
  }
  return result.passed ? kOk : kCheckFailed;
}

}  // namespace

Runner add_check(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add_option("source", options->source, "r: random weights; b: raw files").required().value_name("r|b");
  arguments.add_option("groupsize", options->group, "Codes along K that share a scale; -1: one scale a column")
      .required()
      .value_name("GROUPSIZE");
  arguments.add_option("--m", options->m, "Rows of activations").show_default().value_name("M");
  arguments.add_option("--k", options->k, "Rows of the weights").show_default().value_name("K");
  arguments.add_option("--n", options->n, "Columns of the weights").show_default().value_name("N");
  arguments.add_option("--type", options->type, "u4b8 or u8b128").show_default().value_name("TYPE");
  arguments.add_option("--qweight", options->qweight, "b: raw codes, int32 [K/8, N]").show_default().value_name("FILE");
  arguments
      .add_option("--scales", options->scales,
                  "b: raw scales, f16 [K/GROUPSIZE, N], or [N] for -1 (up_proj_scales.bin, up_proj_scales_percolumn.bin)")
      .value_name("FILE");
  arguments.add_option("--seed", options->seed, "Of the random numbers").show_default().value_name("S");
  add_product_options(arguments, options->words);
  add_json_flag(arguments, options->json);
  arguments.footer("Example:\n  billfish check r -1\n  billfish check b 128 --qweight up_proj_qweight.bin --scales up_proj_scales.bin");
  return [options] { return run(*options); };
}

}  // namespace billfish::cli
