// SPDX-License-Identifier: Apache-2.0
// `billfish verify`: every layer's product against the oracle, and, with --against, its codes, zeros and scales against another
// checkpoint's.
#include <fmt/core.h>

#include <memory>

#include "billfish/billfish_tools.h"
#include "chosen.hpp"
#include "commands.hpp"
#include "errors.hpp"
#include "json.hpp"
#include "library.hpp"
#include "lists.hpp"
#include "options.hpp"
#include "product.hpp"
#include "progress.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kLargestM = 65536;

struct Options {
  std::string path, against, m = "1,16";
  std::uint64_t seed = 1;
  ProductWords words;
  bool skip_unsupported = false, json = false;
};

struct Outcome {
  std::int64_t checks = 0, failed = 0, unsupported = 0;
  std::string first_unsupported;
  Json layers = Json::array();
};

// A missing bias is one of zeros: some writers store those, others leave them out.
std::int64_t differing_biases(const billfish_matrix& left, const billfish_matrix& right) {
  std::vector<float> ours(static_cast<std::size_t>(left.n), 0.0f), theirs(ours);
  if (left.bias != nullptr) billfish_tools_to_f32(left.bias, left.bias_type, ours.data(), left.n);
  if (right.bias != nullptr) billfish_tools_to_f32(right.bias, right.bias_type, theirs.data(), right.n);
  std::int64_t differing = 0;
  for (std::int64_t j = 0; j < left.n; ++j) differing += ours[j] == theirs[j] || (ours[j] != ours[j] && theirs[j] != theirs[j]) ? 0 : 1;
  return differing;
}

class Verification {
 public:
  explicit Verification(const Options& options)
      : options_(options),
        rows_(parse_numbers(options.m, "--m", 0, kLargestM)),
        pool_(options.words.threads),
        product_(product_options(options.words, pool_)),
        checkpoint_(options.path),
        progress_("verifying", true) {
    if (!options.against.empty()) original_ = std::make_unique<Checkpoint>(options.against);
  }

  Outcome run() {
    if (checkpoint_.layers() == 0)
      fail(kUnsupported, "{} holds no quantised layer: `billfish inspect` says what it found there", options_.path);
    std::int64_t done = 0, total = 0;
    for (std::int64_t i = 0; i < checkpoint_.layers(); ++i) total += checkpoint_.layer(i).bytes;
    for (std::int64_t i = 0; i < checkpoint_.layers(); ++i) {
      const billfish_layer_info info = checkpoint_.layer(i);
      progress_.update(info.name, done, total);
      done += info.bytes;
      verify_layer(i, info);
    }
    if (original_) look_for_missing();
    progress_.clear();
    return std::move(outcome_);
  }

 private:
  void verify_layer(std::int64_t index, const billfish_layer_info& info) {
    Json entry = {{"name", info.name}, {"supported", info.supported != 0}};
    if (info.supported == 0) {
      if (outcome_.unsupported++ == 0) outcome_.first_unsupported = fmt::format("{}: {}", info.name, info.reason);
      entry["reason"] = info.reason;
      say(fmt::format("skip {}: {}", info.name, info.reason));
      outcome_.layers.push_back(entry);
      return;
    }
    const billfish_matrix matrix = checkpoint_.load(index);
    const PackedLayer packed(matrix, pool_.parallel(), info.name);
    const std::string what = fmt::format("{} [{}, {}] {} group {}", info.name, matrix.k, matrix.n, name_of(matrix.type), info.group);
    entry["type"] = name_of(matrix.type);
    entry["products"] = Json::array();
    Product product(packed, product_);
    for (const std::int64_t m : rows_) {
      const Comparison result = multiply(packed, product, m, options_.seed + static_cast<std::uint64_t>(index));
      count(result.passed);
      Json row = {{"m", m}, {"implementation", chosen_implementation(packed.weights(), product_, m)}};
      row.update(to_json(result));
      entry["products"].push_back(row);
      say(fmt::format("{} {} M={}: worst error {:.3g} at [{}, {}] (bound {:.3g}), relative error {:.3g}", result.passed ? "pass" : "FAIL",
                      what, m, result.error, result.row, result.column, result.bound, result.relative_error));
    }
    if (original_) entry["against"] = compare(info.name, matrix);
    outcome_.layers.push_back(entry);
  }

  Comparison multiply(const PackedLayer& packed, Product& product, std::int64_t m, std::uint64_t seed) const {
    const billfish_weights& weights = packed.weights();
    const auto a = random_activations(m, weights.k, product_.a_type, seed);
    std::vector<std::byte> c(static_cast<std::size_t>(m * weights.n * bytes_of(product_.c_type)));
    product.run(a.data(), m, c.data());
    return compare_with_oracle(packed, product_, a.data(), m, c.data(), 0, weights.n);
  }

  Json compare(const std::string& name, const billfish_matrix& matrix) {
    std::int64_t index = 0;
    if (billfish_checkpoint_find(original_->get(), name.c_str(), &index) != BILLFISH_OK) {
      count(false);
      say(fmt::format("FAIL {}: {} has no such layer", name, options_.against));
      return {{"passed", false}, {"first", "no such layer"}};
    }
    const billfish_matrix other = original_->load(index);
    if (matrix.n != other.n || matrix.k != other.k) {
      count(false);
      const std::string first = fmt::format("[{}, {}] here, [{}, {}] there", matrix.k, matrix.n, other.k, other.n);
      say(fmt::format("FAIL {}: its shape differs from {}: {}", name, options_.against, first));
      return {{"passed", false}, {"first", first}};
    }
    std::int64_t codes = 0, zeros = 0, scales = 0;
    char first[512] = "";
    check(billfish_tools_compare(&matrix, &other, &codes, &zeros, &scales, first, sizeof first), name);
    const std::int64_t biases = differing_biases(matrix, other);
    const bool passed = codes == 0 && zeros == 0 && scales == 0 && biases == 0;
    count(passed);
    if (passed) {
      say(fmt::format("same {}: codes, zeros and scales as in {}", name, options_.against));
    } else {
      say(fmt::format("FAIL {}: {} codes, {} zeros, {} scales and {} biases differ from {}: {}", name, codes, zeros, scales, biases,
                      options_.against, first));
    }
    return {{"passed", passed}, {"codes", codes}, {"zeros", zeros}, {"scales", scales}, {"biases", biases}, {"first", first}};
  }

  // Layers that only the original has.
  void look_for_missing() {
    for (std::int64_t i = 0; i < original_->layers(); ++i) {
      const char* name = original_->layer(i).name;
      std::int64_t index = 0;
      if (billfish_checkpoint_find(checkpoint_.get(), name, &index) == BILLFISH_OK) continue;
      count(false);
      say(fmt::format("FAIL {}: it is in {} but not in {}", name, options_.against, options_.path));
      outcome_.layers.push_back({{"name", name}, {"supported", false}, {"reason", "only in " + options_.against}});
    }
  }

  void count(bool passed) {
    ++outcome_.checks;
    outcome_.failed += passed ? 0 : 1;
  }
  void say(const std::string& line) {
    progress_.clear();
    if (options_.json) return;
    fmt::print("{}\n", one_line(line));
    std::fflush(stdout);
  }

  const Options& options_;
  std::vector<std::int64_t> rows_;
  Pool pool_;
  ProductOptions product_;
  Checkpoint checkpoint_;
  std::unique_ptr<Checkpoint> original_;
  Progress progress_;
  Outcome outcome_;
};

int run(const Options& options) {
  const Outcome outcome = Verification(options).run();
  const bool passed = outcome.failed == 0;
  if (options.json) {
    print_json({{"schema", 1},
                {"path", options.path},
                {"passed", passed},
                {"checks", outcome.checks},
                {"failed", outcome.failed},
                {"unsupported", outcome.unsupported},
                {"layers", outcome.layers}});
  } else {
    fmt::print("{}: {} checks, {} failed{}\n", passed ? "PASSED" : "FAILED", outcome.checks, outcome.failed,
               outcome.unsupported == 0 ? "" : fmt::format(", {} unsupported layers skipped", outcome.unsupported));
  }
  if (!passed) return kCheckFailed;
  if (outcome.unsupported > 0 && !options.skip_unsupported) {
    fail(kUnsupported, "{} of the layers cannot be verified (--skip-unsupported ignores them); the first is {}", outcome.unsupported,
         outcome.first_unsupported);
  }
  return kOk;
}

}  // namespace

Runner add_verify(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add_option("path", options->path, "A checkpoint, packed or not").required().value_name("PATH");
  arguments.add_option("--against", options->against, "Also compare codes, zeros and scales with this checkpoint").value_name("ORIGINAL");
  add_list_option(arguments, "--m", options->m, "Rows of activations to multiply");
  arguments.add_option("--seed", options->seed, "Of the random activations").show_default().value_name("S");
  add_product_options(arguments, options->words);
  arguments.add_flag("--skip-unsupported", options->skip_unsupported, "Unsupported layers are no reason to fail");
  add_json_flag(arguments, options->json);
  arguments.footer("Example:\n  billfish verify my-model-packed --against my-model --m 1,16,256");
  return [options] { return run(*options); };
}

}  // namespace billfish::cli
