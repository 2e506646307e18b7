// SPDX-License-Identifier: Apache-2.0
// `billfish inspect`: what a file or model directory holds. Headers and g_idx only, unless --deep looks at the zeros.
#include <fmt/core.h>

#include <memory>

#include "commands.hpp"
#include "errors.hpp"
#include "json.hpp"
#include "library.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "text.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

struct Options {
  std::string path;
  bool deep = false, json = false;
};

// A layer as the file says it, and, with --deep, as its zeros say.
struct Seen {
  billfish_layer_info info = BILLFISH_LAYER_INFO_INIT;
  std::string damage;  // why --deep could not read it
};

std::vector<Seen> look(const Checkpoint& checkpoint, const Options& options) {
  std::vector<Seen> layers;
  Progress progress("reading", true);
  for (std::int64_t i = 0; i < checkpoint.layers(); ++i) {
    Seen seen{checkpoint.layer(i), ""};
    if (options.deep && seen.info.supported != 0) {
      progress.update(seen.info.name, i, checkpoint.layers());
      billfish_matrix matrix = BILLFISH_MATRIX_INIT;
      const billfish_status status = billfish_checkpoint_load(checkpoint.get(), i, &matrix);
      if (status == BILLFISH_OK) {
        seen.info.type = matrix.type;
        seen.info.zero_points = has_zeros(matrix.type);
        seen.info.type_from_config = 0;
      } else {
        seen.damage = billfish_last_error();
        seen.info.supported = 0;
      }
    }
    layers.push_back(seen);
  }
  return layers;
}

std::string reason_of(const Seen& seen) {
  if (!seen.damage.empty()) return seen.damage;
  return seen.info.reason != nullptr ? seen.info.reason : "";
}

Json tensors_json(const Checkpoint& checkpoint) {
  Json list = Json::array();
  for (std::int64_t i = 0; i < checkpoint.tensors(); ++i) {
    const billfish_tensor_info tensor = checkpoint.tensor(i);
    list.push_back({{"name", tensor.name},
                    {"dtype", tensor.dtype},
                    {"shape", std::vector<std::int64_t>(tensor.shape, tensor.shape + tensor.rank)},
                    {"bytes", tensor.bytes}});
  }
  return list;
}

struct Totals {
  std::int64_t bytes = 0;      // as stored
  std::int64_t bytes_f16 = 0;  // with 16 bits a weight in the quantised layers
};

Totals total(const Checkpoint& checkpoint, const std::vector<Seen>& layers) {
  Totals totals;
  for (const Seen& seen : layers) {
    totals.bytes += seen.info.bytes;
    totals.bytes_f16 += 2 * seen.info.n * (seen.info.k + (seen.info.bias != 0 ? 1 : 0));
  }
  for (std::int64_t i = 0; i < checkpoint.tensors(); ++i) {
    totals.bytes += checkpoint.tensor(i).bytes;
    totals.bytes_f16 += checkpoint.tensor(i).bytes;
  }
  return totals;
}

Json document(const Checkpoint& checkpoint, const std::vector<Seen>& layers, const Options& options) {
  Json list = Json::array();
  for (const Seen& seen : layers) {
    const billfish_layer_info& info = seen.info;
    list.push_back({{"name", info.name},
                    {"n", info.n},
                    {"k", info.k},
                    {"type", name_of(info.type)},
                    {"type_from_config", info.type_from_config != 0},
                    {"group", info.group},
                    {"act_order", info.act_order != 0},
                    {"zero_points", info.zero_points != 0},
                    {"scale_type", name_of(info.scale_type)},
                    {"bias", info.bias != 0},
                    {"bytes", info.bytes},
                    {"supported", info.supported != 0},
                    {"reason", reason_of(seen)}});
  }
  const Totals totals = total(checkpoint, layers);
  Json config = parse_json(checkpoint.config());
  if (!config.is_object()) config = Json::object();
  return {{"schema", 1},
          {"path", options.path},
          {"format", checkpoint.format()},
          {"why", checkpoint.why()},
          {"config", config},
          {"layers", list},
          {"unquantized", tensors_json(checkpoint)},
          {"totals", {{"bytes", totals.bytes}, {"bytes_f16", totals.bytes_f16}}}};
}

void print_text(const Checkpoint& checkpoint, const std::vector<Seen>& layers, const Options& options) {
  // Names and reasons come from files: no control characters of theirs reach a terminal.
  fmt::print("{}\nformat {}: {}\n", one_line(options.path), checkpoint.format(), one_line(checkpoint.why()));
  bool any_from_config = false;
  if (!layers.empty()) {
    Table table({"layer", "k", "n", "type", "group", "act order", "scales", "bias", "bytes", "supported"});
    for (const Seen& seen : layers) {
      const billfish_layer_info& info = seen.info;
      any_from_config = any_from_config || info.type_from_config != 0;
      table.add({one_line(info.name), std::to_string(info.k), std::to_string(info.n),
                 std::string(name_of(info.type)) + (info.type_from_config != 0 ? "*" : ""), std::to_string(info.group),
                 info.act_order != 0 ? "yes" : "no", name_of(info.scale_type), info.bias != 0 ? "yes" : "no", std::to_string(info.bytes),
                 info.supported != 0 ? "yes" : "no: " + one_line(reason_of(seen))});
    }
    fmt::print("\n{} quantised layers\n{}", layers.size(), table.text());
    if (any_from_config) fmt::print("* as the config says; --deep looks at the zeros themselves\n");
  }
  if (checkpoint.tensors() > 0) {
    Table table({"tensor", "type", "shape", "bytes"});
    for (std::int64_t i = 0; i < checkpoint.tensors(); ++i) {
      const billfish_tensor_info tensor = checkpoint.tensor(i);
      table.add(
          {one_line(tensor.name), tensor.dtype, shape_text({tensor.shape, tensor.shape + tensor.rank}), std::to_string(tensor.bytes)});
    }
    fmt::print("\n{} other tensors\n{}", checkpoint.tensors(), table.text());
  }
  const Totals totals = total(checkpoint, layers);
  fmt::print("\n{} in all; {} with 16-bit weights\n", bytes_text(static_cast<double>(totals.bytes)),
             bytes_text(static_cast<double>(totals.bytes_f16)));
}

int run(const Options& options) {
  const Checkpoint checkpoint(options.path);
  const std::vector<Seen> layers = look(checkpoint, options);
  if (options.json) {
    print_json(document(checkpoint, layers, options));
  } else {
    print_text(checkpoint, layers, options);
  }
  for (const Seen& seen : layers) {
    if (!seen.damage.empty()) fail(kBadInput, "{} cannot be read: {}", seen.info.name, seen.damage);
  }
  return kOk;
}

}  // namespace

Runner add_inspect(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add_option("path", options->path, "A .safetensors file, a shard index or a model directory").required().value_name("PATH");
  arguments.add_flag("--deep", options->deep, "Look at the zeros of every layer, not only at headers and the config");
  add_json_flag(arguments, options->json);
  arguments.footer("Example:\n  billfish inspect my-model --deep");
  return [options] { return run(*options); };
}

}  // namespace billfish::cli
