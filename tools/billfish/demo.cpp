// SPDX-License-Identifier: Apache-2.0
// `billfish demo`: the whole story on a checkpoint made on the spot, in a folder that goes away: quantise, write, inspect, pack,
// verify, multiply, and what it gains over the same products with unquantised weights.
#include <fmt/core.h>

#include <array>
#include <memory>

#include "baseline.hpp"
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
#include "text.hpp"
#include "timing.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kGroup = 128;
constexpr std::array<std::int64_t, 3> kRows = {1, 16, 256};
constexpr std::int64_t kCheckedColumns = 64;  // at each end, where the oracle would take too long for all
constexpr float kWeightSpread = 0.02f;        // of the random weights: about what trained layers have

struct Options {
  std::string device;
  int threads = 0;
  bool json = false;
};

struct Shape {
  const char* name;
  std::int64_t k, n;
};
// The MLP of a model with 1.1 billion weights.
constexpr Shape kShapes[] = {{"model.layers.0.mlp.up_proj", 2048, 5632}, {"model.layers.0.mlp.down_proj", 5632, 2048}};

struct Row {
  std::string layer;
  std::int64_t m = 0;
  std::string implementation;
  double seconds = 0, gbps = 0, gflops = 0, dense_seconds = 0;  // dense_seconds 0: no such product on this device
  Comparison check;
};

class Demo {
 public:
  explicit Demo(const Options& options) : options_(options), pool_(options.threads), start_(billfish_tools_now()) {
    product_.device = choose_device(options.device);
    product_.a_type = product_.device.kind == BILLFISH_CUDA ? BILLFISH_F16 : BILLFISH_F32;
    product_.c_type = product_.a_type;
    product_.parallel = pool_.parallel();
  }

  int run() {
    const std::string original = folder_.path() + "/model", packed = folder_.path() + "/packed";
    make(original);
    inspect(original);
    pack(original, packed);
    const Checkpoint source(original), target(packed);
    std::vector<Row> rows;
    for (std::int64_t i = 0; i < target.layers(); ++i) {
      const std::string name = target.layer(i).name;
      const billfish_matrix matrix = target.load(i), before = source.load(source.find(name));
      const PackedLayer layer(matrix, pool_.parallel(), name);
      verify(name, matrix, before, layer);
      measure(name, layer, rows);
    }
    report(rows);
    return passed_ ? kOk : kCheckFailed;
  }

 private:
  void say(const std::string& line) const {
    if (options_.json) return;
    fmt::print("{}\n", line);
    std::fflush(stdout);
  }

  // Random weights, rounded to nearest in groups, as a GPTQ directory.
  void make(const std::string& path) {
    struct Layer {
      std::vector<std::uint8_t> codes;
      std::vector<std::uint16_t> scales;
      billfish_matrix matrix = BILLFISH_MATRIX_INIT;
    };
    std::vector<Layer> layers(std::size(kShapes));
    std::vector<billfish_named_matrix> named;
    std::int64_t weights = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto& [name, k, n] = kShapes[i];
      std::vector<float> values = random_normal(k * n, i + 1);
      for (float& value : values) value *= kWeightSpread;
      Layer& layer = layers[i];
      layer.codes.resize(static_cast<std::size_t>(k * n));
      layer.scales.resize(static_cast<std::size_t>(groups_of(k, kGroup) * n));
      check(billfish_tools_quantize(values.data(), k, n, kGroup, BILLFISH_U4B8, BILLFISH_F16, layer.codes.data(), nullptr,
                                    layer.scales.data()));
      layer.matrix.format = BILLFISH_FORMAT_RAW;
      layer.matrix.type = BILLFISH_U4B8;
      layer.matrix.n = n;
      layer.matrix.k = k;
      layer.matrix.group = kGroup;
      layer.matrix.codes = layer.codes.data();
      layer.matrix.scales = layer.scales.data();
      layer.matrix.scale_type = BILLFISH_F16;
      named.push_back({name, &layer.matrix});
      weights += k * n;
    }
    check(billfish_tools_write_checkpoint(path.c_str(), "gptq", named.data(), static_cast<std::int64_t>(named.size())));
    say(fmt::format("made      {} layers of {:.1f} million random weights, quantised to 4 bits in groups of {}, as a GPTQ directory",
                    named.size(), static_cast<double>(weights) / 1e6, kGroup));
  }

  void inspect(const std::string& path) {
    const Checkpoint checkpoint(path);
    say(fmt::format("inspect   format {}: {}", checkpoint.format(), checkpoint.why()));
    for (std::int64_t i = 0; i < checkpoint.layers(); ++i) {
      const billfish_layer_info info = checkpoint.layer(i);
      quantised_bytes_ += info.bytes;
      f16_bytes_ += 2 * info.n * info.k;
      say(fmt::format("          {}: K={} N={} {} group {}, {}", info.name, info.k, info.n, name_of(info.type), info.group,
                      bytes_text(static_cast<double>(info.bytes))));
    }
  }

  void pack(const std::string& from, const std::string& to) {
    billfish_convert_options convert = BILLFISH_CONVERT_OPTIONS_INIT;
    convert.parallel = pool_.parallel();
    const double start = billfish_tools_now();
    check(billfish_tools_pack_checkpoint(from.c_str(), to.c_str(), &convert));
    const double seconds = billfish_tools_now() - start;
    say(fmt::format("pack      {} into Marlin bytes in {} ({}/s)", bytes_text(static_cast<double>(quantised_bytes_)), seconds_text(seconds),
                    bytes_text(static_cast<double>(quantised_bytes_) / seconds)));
  }

  void verify(const std::string& name, const billfish_matrix& packed, const billfish_matrix& before, const PackedLayer& layer) {
    std::int64_t codes = 0, zeros = 0, scales = 0;
    char first[512] = "";
    check(billfish_tools_compare(&packed, &before, &codes, &zeros, &scales, first, sizeof first), name);
    const bool same = codes + zeros + scales == 0;
    const Comparison result = multiply(layer, 1, true);
    passed_ = passed_ && same && result.passed;
    say(fmt::format("verify    {}: {}; product {}: worst error {:.2g}, bound {:.2g}", name,
                    same ? "the original's codes and scales" : fmt::format("DIFFERS from the original: {}", first),
                    result.passed ? "right" : "WRONG", result.error, result.bound));
  }

  Comparison multiply(const PackedLayer& layer, std::int64_t m, bool every_column) const {
    const billfish_weights& weights = layer.weights();
    const auto a = random_activations(m, weights.k, product_.a_type, static_cast<std::uint64_t>(m));
    std::vector<std::byte> c(static_cast<std::size_t>(m * weights.n * bytes_of(product_.c_type)));
    Product(layer, product_).run(a.data(), m, c.data());
    if (every_column) return compare_with_oracle(layer, product_, a.data(), m, c.data(), 0, weights.n);
    const Comparison low = compare_with_oracle(layer, product_, a.data(), m, c.data(), 0, kCheckedColumns);
    const Comparison high = compare_with_oracle(layer, product_, a.data(), m, c.data(), weights.n - kCheckedColumns, weights.n);
    const bool low_is_worse = !low.passed || (high.passed && low.error * high.bound > high.error * low.bound);
    return low_is_worse ? low : high;
  }

  void measure(const std::string& name, const PackedLayer& layer, std::vector<Row>& rows) {
    const billfish_weights& weights = layer.weights();
    const Baseline baseline(layer, product_);
    baseline_text_ = baseline.text();
    for (const std::int64_t m : kRows) {
      Row row{
          name, m, chosen_implementation(weights, product_, m), product_seconds(layer, product_, m), 0, 0, 0, multiply(layer, m, m <= 16)};
      const double bytes =
          static_cast<double>(bytes_read(weights) + m * (weights.k * bytes_of(product_.a_type) + weights.n * bytes_of(product_.c_type)));
      row.gbps = bytes / row.seconds / 1e9;
      row.gflops = 2.0 * static_cast<double>(m) * static_cast<double>(weights.k * weights.n) / row.seconds / 1e9;
      row.dense_seconds = baseline.seconds(m);
      passed_ = passed_ && row.check.passed;
      rows.push_back(std::move(row));
    }
  }

  void report(const std::vector<Row>& rows) const {
    const double saved = static_cast<double>(f16_bytes_) / static_cast<double>(quantised_bytes_);
    const double seconds = billfish_tools_now() - start_;
    if (options_.json) {
      Json list = Json::array();
      for (const Row& row : rows) {
        list.push_back({{"layer", row.layer},
                        {"m", row.m},
                        {"implementation", row.implementation},
                        {"us", row.seconds * 1e6},
                        {"gbps", row.gbps},
                        {"gflops", row.gflops},
                        {"vs_unquantized", row.dense_seconds > 0 ? Json(row.dense_seconds / row.seconds) : Json()},
                        {"worst_error", row.check.error},
                        {"bound", row.check.bound},
                        {"passed", row.check.passed}});
      }
      print_json({{"schema", 1},
                  {"device", text_of(product_.device)},
                  {"threads", pool_.threads()},
                  {"unquantized", baseline_text_},
                  {"passed", passed_},
                  {"bytes", quantised_bytes_},
                  {"bytes_f16", f16_bytes_},
                  {"rows", list},
                  {"seconds", seconds}});
      return;
    }
    Table table({"layer", "M", "by", "time", "GB/s", "GFLOP/s", "vs unquantised", "worst error", "bound", ""});
    for (const Row& row : rows) {
      table.add({row.layer, std::to_string(row.m), row.implementation, seconds_text(row.seconds), fmt::format("{:.1f}", row.gbps),
                 fmt::format("{:.0f}", row.gflops), row.dense_seconds > 0 ? fmt::format("{:.2f}x", row.dense_seconds / row.seconds) : "-",
                 fmt::format("{:.2g}", row.check.error), fmt::format("{:.2g}", row.check.bound), row.check.passed ? "right" : "WRONG"});
    }
    const std::string threads = product_.device.kind == BILLFISH_CPU ? fmt::format(", {} threads", pool_.threads()) : "";
    say(fmt::format("multiply  on {}{}, {} activations, weights out of cache; unquantised: {}\n\n{}", text_of(product_.device), threads,
                    name_of(product_.a_type), baseline_text_, table.text()));
    say(fmt::format("Memory: {} instead of {} in f16, {:.1f} times less. {} in {}.", bytes_text(static_cast<double>(quantised_bytes_)),
                    bytes_text(static_cast<double>(f16_bytes_)), saved, passed_ ? "Everything was right" : "SOMETHING WAS WRONG",
                    seconds_text(seconds)));
  }

  const Options& options_;
  Pool pool_;
  TemporaryFolder folder_;
  ProductOptions product_;
  double start_;
  std::int64_t quantised_bytes_ = 0, f16_bytes_ = 0;
  std::string baseline_text_;
  bool passed_ = true;
};

}  // namespace

Runner add_demo(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  add_device_option(arguments, options->device);
  add_threads_option(arguments, options->threads);
  add_json_flag(arguments, options->json);
  arguments.footer("Example:\n  billfish demo\nWorks in a temporary folder (TMPDIR), which it removes.");
  return [options] { return Demo(*options).run(); };
}

}  // namespace billfish::cli
