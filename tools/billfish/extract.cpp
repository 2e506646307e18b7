// SPDX-License-Identifier: Apache-2.0
// `billfish extract`: one layer of any checkpoint as the raw files that `check b` reads.
#include <fmt/core.h>

#include <cstring>
#include <filesystem>
#include <memory>

#include "billfish/billfish_tools.h"
#include "commands.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "json.hpp"
#include "library.hpp"
#include "options.hpp"
#include "product.hpp"
#include "raw_files.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

struct Options {
  std::string path, layer, out;
  int threads = 0;
  bool json = false;
};

// Raw scales are f16. Other types go in only where every value survives.
std::vector<std::uint16_t> exact_f16(const Buffer& scales, billfish_element_type type, std::int64_t count, const std::string& layer) {
  std::vector<std::uint16_t> halves(static_cast<std::size_t>(count));
  if (type == BILLFISH_F16) {
    std::memcpy(halves.data(), scales.data(), halves.size() * sizeof halves[0]);
    return halves;
  }
  std::vector<float> values(halves.size()), back(halves.size());
  billfish_tools_to_f32(scales.data(), type, values.data(), count);
  billfish_tools_from_f32(values.data(), BILLFISH_F16, halves.data(), count);
  billfish_tools_to_f32(halves.data(), BILLFISH_F16, back.data(), count);
  for (std::int64_t i = 0; i < count; ++i) {
    if (values[i] != back[i]) {
      fail(kUnsupported, "{}: its scales are {}, and {} (number {}) has no f16 that equals it; raw files hold f16 scales", layer,
           name_of(type), values[i], i);
    }
  }
  return halves;
}

void write(const std::string& path, const void* data, std::size_t bytes) {
  OutputFile file(path);
  file.write(data, bytes);
  file.commit();
}

int run(const Options& options) {
  const Checkpoint checkpoint(options.path);
  const std::int64_t index = checkpoint.find(options.layer);
  const billfish_layer_info info = checkpoint.layer(index);
  const billfish_matrix matrix = checkpoint.load(index);
  if (has_zeros(matrix.type)) {
    fail(kUnsupported, "{} has zero points ({}): the raw files hold codes and scales only", options.layer, name_of(matrix.type));
  }
  if (info.act_order != 0) fail(kUnsupported, "{} has an activation order: the raw files have no place for it", options.layer);
  const std::int64_t bits = bits_of(matrix.type), groups = groups_of(matrix.k, matrix.group);
  if (matrix.k * bits % 32 != 0) {
    fail(kUnsupported, "{} has K = {}: raw codes are whole int32 words, so K must be a multiple of {}", options.layer, matrix.k, 32 / bits);
  }
  const Pool pool(options.threads);
  const PackedLayer packed(matrix, pool.parallel(), options.layer);
  const Buffer codes(matrix.k * bits / 32 * matrix.n * 4), scales(groups * matrix.n * bytes_of(matrix.scale_type));
  billfish_matrix raw = BILLFISH_MATRIX_INIT;
  raw.format = BILLFISH_FORMAT_GPTQ_V2;
  raw.type = matrix.type;
  raw.n = matrix.n;
  raw.k = matrix.k;
  raw.group = matrix.group;
  raw.codes = codes.data();
  raw.scales = scales.data();
  raw.scale_type = matrix.scale_type;
  raw.codes_bytes = codes.bytes();
  raw.scales_bytes = scales.bytes();
  check(billfish_unpack(&packed.weights(), &raw, pool.parallel()), options.layer);

  const auto halves = exact_f16(scales, matrix.scale_type, groups * matrix.n, options.layer);
  const auto means = mean_scales(halves.data(), groups, matrix.n);
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error) fail(kBadInput, "cannot make the folder {}: {}", options.out, error.message());
  const RawNames names = raw_names(options.layer);
  const std::string folder = options.out + "/";
  for (const std::string& name : {names.qweight, names.scales, names.percolumn}) keep_inputs(folder + name, "--out:", {options.path});
  write(folder + names.qweight, codes.data(), static_cast<std::size_t>(codes.bytes()));
  write(folder + names.scales, halves.data(), halves.size() * sizeof halves[0]);
  write(folder + names.percolumn, means.data(), means.size() * sizeof means[0]);
  const std::int64_t group = groups == 1 ? -1 : matrix.group;
  const std::string next =
      fmt::format("billfish check b {} --k {} --n {} --type {} --qweight {} --scales {}", group, matrix.k, matrix.n, name_of(matrix.type),
                  folder + names.qweight, folder + (groups == 1 ? names.percolumn : names.scales));
  if (options.json) {
    print_json({{"schema", 1},
                {"layer", options.layer},
                {"k", matrix.k},
                {"n", matrix.n},
                {"group", group},
                {"groups", groups},
                {"type", name_of(matrix.type)},
                {"files", {folder + names.qweight, folder + names.scales, folder + names.percolumn}}});
  } else {
    fmt::print("{}\n{}\n{}\nNow try: {}\n", folder + names.qweight, folder + names.scales, folder + names.percolumn, next);
  }
  return kOk;
}

}  // namespace

Runner add_extract(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add_option("model", options->path, "A checkpoint, packed or not").required().value_name("MODEL");
  arguments.add_option("layer", options->layer, "Module prefix, as `inspect` lists it").required().value_name("LAYER");
  arguments.add_option("--out", options->out, "Folder for the raw files").required().value_name("DIR");
  add_threads_option(arguments, options->threads);
  add_json_flag(arguments, options->json);
  arguments.footer(
      "Example:\n  billfish extract my-model model.layers.0.mlp.up_proj --out raw\n  billfish check b 128 --qweight "
      "raw/up_proj_qweight.bin --scales raw/up_proj_scales.bin");
  return [options] { return run(*options); };
}

}  // namespace billfish::cli
