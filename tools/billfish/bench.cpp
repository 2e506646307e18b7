// SPDX-License-Identifier: Apache-2.0
// `billfish bench`: options, then bench_cpu.cpp or bench_cuda.cpp. Method: bench/README.md.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>

#include "bench_cpu.hpp"
#include "bench_cuda.hpp"
#include "bench_problem.hpp"
#include "bench_report.hpp"
#include "commands.hpp"
#include "errors.hpp"
#include "lists.hpp"
#include "options.hpp"
#include "product.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kMostM = 1 << 20;
constexpr int kMostSeconds = 3600, kMostMinutes = 7 * 24 * 60;
constexpr std::int64_t kMostSize = std::int64_t{1} << 31;

struct Words {
  std::string device, shapes, m, seed = "1", type = "u4b8", act, precision = "full", implementation, launches = "both", out, peers;
  std::vector<std::string> models;
  std::string limit_k, limit_n, limit_group, limit_bits, limit_act_order, limit_k_full;
  std::int64_t n = 0, k = 0, group = 128, random = 0, model_dim = 0;
  int threads = 0;
  double minutes = 0, seconds = 0;
  std::optional<double> most_seconds;
  bool cliff = false, no_workspace = false, batch_invariant = false, json = false, no_dependent = false, cold = false, hot = false;

  // The run of the Marlin benchmark that people know: models, every implementation, f16 and bf16. Naming shapes is the other kind.
  bool of_models() const { return shapes.empty() && n == 0 && k == 0 && random == 0 && !cliff; }
};

Launches parse_launches(const std::string& word) {
  if (word == "off") return Launches::off;
  if (word == "on") return Launches::on;
  if (word == "both") return Launches::both;
  fail(kUsage, "--dependent-launch has the value '{}': use on, off or both", word);
}

// Not a number compares with nothing: what is not within the limits is refused.
void check_times(const Words& words) {
  if (!(words.seconds >= 0 && words.seconds <= kMostSeconds)) {
    fail(kUsage, "--seconds (or --min-time) is {}: 0 to {} are possible", words.seconds, kMostSeconds);
  }
  if (words.most_seconds && !(*words.most_seconds >= 0 && *words.most_seconds <= kMostSeconds)) {
    fail(kUsage, "--most-seconds is {}: 0 (no limit) to {} are possible", *words.most_seconds, kMostSeconds);
  }
  if (!(words.minutes >= 0 && words.minutes <= kMostMinutes)) {
    fail(kUsage, "--minutes is {}: 0 (no limit) to {} are possible", words.minutes, kMostMinutes);
  }
}

std::uint64_t parse_seed(const std::string& text) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  std::int64_t seed = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (error != std::errc() || end != text.data() + text.size() || seed < 0) {
    fail(kUsage, "--seed has the value '{}': a whole number from 0 to {} is needed", text, kMost);
  }
  return static_cast<std::uint64_t>(seed);
}

std::vector<std::int64_t> default_m(const BenchOptions& options, bool of_models) {
  if (of_models) return {1, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
  if (options.cliff) {
    std::vector<std::int64_t> all(257);
    std::iota(all.begin(), all.end(), 1);
    return all;
  }
  if (options.device.kind == BILLFISH_CPU) return {1, 2, 4, 8, 16, 32, 64, 128, 512};
  return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
}

// The command as one would type it again.
std::string command_of(const Words& words) {
  std::string text = "billfish bench --device " + words.device;
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) text += fmt::format(" {} {}", option, value);
  };
  add("--shapes", words.shapes);
  for (std::size_t i = 0; i < words.models.size(); ++i) text += (i == 0 ? " --models " : " ") + words.models[i];
  if (words.model_dim > 0) text += fmt::format(" --model-dim {}", words.model_dim);
  add("--limit-k", words.limit_k);
  add("--limit-n", words.limit_n);
  add("--limit-group-size", words.limit_group);
  add("--limit-num-bits", words.limit_bits);
  add("--limit-act-order", words.limit_act_order);
  add("--limit-k-full", words.limit_k_full);
  if (words.n > 0) text += fmt::format(" --n {} --k {}", words.n, words.k);
  add("--m", words.m);
  text += fmt::format(" --type {} --group {} --act {}", words.type, words.group, words.act);
  add("--implementation", words.implementation);
  if (words.device == "cpu") {
    text += fmt::format(" --precision {} --threads {}", words.precision, words.threads);
  } else {
    text += " --dependent-launch " + words.launches;
  }
  if (words.no_workspace) text += " --no-workspace";
  if (words.batch_invariant) text += " --batch-invariant";
  if (words.hot) text += " --hot";
  if (words.cliff) text += " --cliff";
  if (words.random > 0) text += fmt::format(" --random {}", words.random);
  return text + fmt::format(" --seed {}", words.seed);
}

BenchOptions options_of(Words& words) {
  BenchOptions options;
  options.device = choose_device(words.device);
  const bool cuda = options.device.kind == BILLFISH_CUDA;
  if (words.device.empty()) words.device = cuda ? "cuda" : "cpu";
  options.type = parse_weight_type(words.type);
  if (words.act.empty()) words.act = words.of_models() ? "f16,bf16" : "f16";
  for (const std::string& word : split_list(words.act)) {
    options.act = parse_element_type(word, "--act");
    if (cuda && options.act == BILLFISH_F32) fail(kUnsupported, "--act f32: activations on CUDA are f16 or bf16");
  }
  options.group = words.group;
  if (options.group != -1 && options.group < 1)
    fail(kUsage, "--group has the value {}: use -1 (all of K) or a positive number", options.group);
  for (const std::string& word : split_list(words.precision)) options.precisions.push_back(parse_precision(word));
  if (words.implementation.empty()) words.implementation = words.of_models() ? "all" : "best";
  options.every_implementation = words.implementation == "all";
  options.implementation = words.implementation == "all" || words.implementation == "best" ? "" : words.implementation;
  if (words.cold && words.hot) fail(kUsage, "--cold and --hot exclude each other: weights out of every cache, or one copy of them");
  options.hot = words.hot;
  if (words.no_dependent) words.launches = "off";
  check_times(words);
  options.most_seconds = words.most_seconds.value_or(words.of_models() ? 2 : 0);
  options.threads = words.threads;
  options.launches = parse_launches(words.launches);
  options.no_workspace = words.no_workspace;
  options.batch_invariant = words.batch_invariant;
  if (!cuda && (words.no_workspace || words.batch_invariant)) fail(kUsage, "--no-workspace and --batch-invariant are for --device cuda");
  options.cliff = words.cliff;
  options.random = words.random;
  if (!cuda && (words.cliff || words.random > 0)) fail(kUsage, "--cliff and --random are for --device cuda");
  options.seed = parse_seed(words.seed);
  options.minutes = words.minutes;
  options.seconds = words.seconds;
  if (options.seconds == 0 && !cuda) options.seconds = words.of_models() ? 0.2 : 1.2;
  options.out = words.out;
  options.json = words.json;
  options.m = words.m.empty() ? default_m(options, words.of_models()) : parse_numbers(words.m, "--m", 1, kMostM);
  if ((words.n > 0) != (words.k > 0)) fail(kUsage, "--n and --k go together: give both, or name --shapes");
  if (words.n > 0) {
    if (words.n > kMostSize || words.k > kMostSize) fail(kUsage, "--n and --k are at most {}", kMostSize);
    options.shapes.push_back({words.k, words.n, fmt::format("{} x {}", words.k, words.n)});
  }
  std::vector<std::string> names = split_list(words.shapes);
  if (words.cliff && names.empty() && options.shapes.empty()) names = {"h200"};
  if (words.model_dim < 0 || words.model_dim > kMostSize) fail(kUsage, "--model-dim {}: 1 to {}", words.model_dim, kMostSize);
  if (!words.of_models() && (!words.models.empty() || words.model_dim > 0)) {
    fail(kUsage, "--models and --model-dim are not for --shapes, --n and --k, --cliff or --random: choose one");
  }
  if (words.of_models()) {
    if (words.model_dim > 0) {
      options.shapes.push_back({words.model_dim, words.model_dim, fmt::format("{} x {}", words.model_dim, words.model_dim)});
    } else if (words.models.empty()) {
      words.models = {"meta-llama/Llama-2-7b-hf/TP1"};
    }
    std::vector<std::string> models;
    for (const std::string& word : words.models) {
      for (const std::string& name : split_list(word)) models.push_back(name);
    }
    if (models.empty() && !words.models.empty()) fail(kUsage, "--models is an empty list: name at least one, or leave it out");
    for (BenchShape& shape : read_models(models)) options.shapes.push_back(std::move(shape));
  }
  for (BenchShape& shape : read_shapes(names)) options.shapes.push_back(std::move(shape));
  const auto keep = [&](const std::string& list, const char* option, std::int64_t BenchShape::*side) {
    if (list.empty()) return;
    const std::vector<std::int64_t> allowed = parse_numbers(list, option, 1, kMostSize);
    std::erase_if(options.shapes,
                  [&](const BenchShape& shape) { return std::find(allowed.begin(), allowed.end(), shape.*side) == allowed.end(); });
    if (options.shapes.empty()) fail(kUsage, "{} {}: no shape of this run has that", option, list);
  };
  keep(words.limit_k, "--limit-k", &BenchShape::k);
  keep(words.limit_n, "--limit-n", &BenchShape::n);
  options.peers = words.peers;
  if (cuda && options.peers.empty()) options.peers = find_bench_file("peers/h200.json");
  return options;
}

// One combination of what a run goes through beside shapes and M.
std::vector<BenchOptions> sweep_of(const BenchOptions& options, const Words& words, BenchReport& report) {
  std::vector<billfish_weight_type> types;
  if (words.limit_bits.empty()) {
    types.push_back(options.type);
  } else {
    for (const std::int64_t bits : parse_numbers(words.limit_bits, "--limit-num-bits", 1, 64)) {
      const bool zeros = has_zeros(options.type);
      if (bits == 4) types.push_back(zeros ? BILLFISH_U4 : BILLFISH_U4B8);
      if (bits == 8) types.push_back(zeros ? BILLFISH_U8 : BILLFISH_U8B128);
      if (bits != 4 && bits != 8) report.skip(fmt::format("{}-bit weights: 4 and 8 bits are supported", bits));
    }
  }
  const auto list = [](const std::string& words_given, const char* option, std::int64_t low, std::int64_t high, std::int64_t otherwise) {
    return words_given.empty() ? std::vector<std::int64_t>{otherwise} : parse_numbers(words_given, option, low, high);
  };
  const std::vector<std::int64_t> groups = list(words.limit_group, "--limit-group-size", -1, kMostSize, options.group);
  const std::vector<std::int64_t> orders = list(words.limit_act_order, "--limit-act-order", 0, 1, 0);
  const std::vector<std::int64_t> full = list(words.limit_k_full, "--limit-k-full", 0, 1, 1);
  if (std::find(full.begin(), full.end(), 0) != full.end()) {
    report.skip("k_full = 0: multiplying a shard of K whose groups interleave is not supported");
  }
  std::vector<BenchOptions> all;
  if (std::find(full.begin(), full.end(), 1) == full.end()) return all;
  for (const billfish_weight_type type : types) {
    for (const std::int64_t group : groups) {
      if (group == 0) fail(kUsage, "--limit-group-size 0: use -1 (all of K) or positive numbers");
      for (const std::int64_t order : orders) {
        if (order == 1 && group == -1) {
          report.skip("act order with one group: there is nothing to order");
          continue;
        }
        for (const std::string& act : split_list(words.act)) {
          BenchOptions one = options;
          one.type = type;
          one.group = group;
          one.act_order = order == 1;
          one.act = parse_element_type(act, "--act");
          all.push_back(std::move(one));
        }
      }
    }
  }
  return all;
}

int run(Words words) {
  if (words.models.size() == 1 && words.models[0] == "list") {
    fmt::print("{}", list_models());
    return kOk;
  }
  const BenchOptions options = options_of(words);
  BenchReport report(options, command_of(words));
  const std::vector<BenchOptions> sweep = sweep_of(options, words, report);
  if (sweep.empty()) fail(kUsage, "nothing is left to measure: every combination was left out");
  std::int64_t cells = 0;
  for (const BenchOptions& one : sweep) cells += one.random > 0 ? one.random : static_cast<std::int64_t>(one.shapes.size() * one.m.size());
  report.expect(cells);
  for (const BenchOptions& one : sweep) {
    if (options.device.kind == BILLFISH_CPU) {
      bench_cpu(one, report);
    } else {
      bench_cuda(one, report);
    }
  }
  report.finish();
  for (const BenchRow& row : report.rows()) {
    if (!row.correct) throw Failure(kCheckFailed, report.invalid_because.front());
  }
  for (const char* list : {"cliffs", "slow"}) {
    if (report.conditions.contains(list) && !report.conditions[list].empty()) {
      fail(kCheckFailed, "{} of the timings break the rule that --{} checks; they are listed above", report.conditions[list].size(),
           std::string(list) == "slow" ? "random" : "cliff");
    }
  }
  return kOk;
}

}  // namespace

Runner add_bench(Arguments& arguments) {
  const auto positive = [](const std::string& text) {
    const bool zero = text.find_first_not_of('0') == std::string::npos;
    return zero || text.starts_with("-") ? fmt::format("is {}: it must be positive", text) : std::string();
  };
  auto words = std::make_shared<Words>();
  add_device_option(arguments, words->device);
  add_list_option(arguments, "--shapes", words->shapes,
                  "Files with \"K N label\" lines, or names of them in bench/shapes (h200, cpu, llama-3-8b)")
      .value_name("NAME...");
  arguments.add_option("--n", words->n, "One shape instead of the default ones: columns of the weights").check(positive).value_name("N");
  arguments.add_option("--k", words->k, "and rows").check(positive).value_name("K");
  arguments.add_option("--models", words->models, "Layers of models, as meta-llama/Llama-2-7b-hf/TP1 (the default); list names all")
      .several()
      .value_name("MODEL...");
  arguments.add_option("--model-dim", words->model_dim, "One D x D layer, too").positive().value_name("D");
  add_list_option(arguments, "--m,--batch-sizes", words->m, "Rows of activations").value_name("M...");
  add_list_option(arguments, "--limit-k", words->limit_k, "Only layers of these K").value_name("K...");
  add_list_option(arguments, "--limit-n", words->limit_n, "Only layers of these N").value_name("N...");
  add_list_option(arguments, "--limit-group-size", words->limit_group, "These groups instead of --group").value_name("G...");
  add_list_option(arguments, "--limit-num-bits", words->limit_bits, "4, 8 or both instead of --type").value_name("BITS...");
  add_list_option(arguments, "--limit-act-order", words->limit_act_order, "0: without, 1: with an activation order").value_name("0|1...");
  add_list_option(arguments, "--limit-k-full", words->limit_k_full, "1: all of K is here; 0 is not supported and skipped")
      .value_name("0|1...");
  arguments.add_option("--type", words->type, "u4b8, u4, u8b128 or u8").show_default().value_name("TYPE");
  arguments.add_option("--group", words->group, "Codes along K that share a scale; -1: all of K").show_default().value_name("G");
  add_list_option(arguments, "--act", words->act, "Types of activations: f32 (CPU only), f16, bf16; f16, with --models f16 and bf16")
      .value_name("TYPE...");
  add_list_option(arguments, "--precision", words->precision, "CPU: full, bf16, int8").value_name("WORD...");
  arguments.add_option("--implementation", words->implementation, "A name, best, or all; all with --models, else best").value_name("NAME");
  add_threads_option(arguments, words->threads);
  arguments.add_option("--dependent-launch", words->launches, "CUDA: on, off or both").show_default().value_name("WORD");
  arguments.add_flag("--no-workspace", words->no_workspace, "CUDA: what a caller without a workspace gets, as marlin_cuda's do");
  arguments.add_flag("--batch-invariant", words->batch_invariant, "CUDA: a row's bits depend neither on M nor on its neighbours");
  arguments.add_flag("--no-dependent-launch", words->no_dependent, "CUDA: --dependent-launch off");
  arguments.add_flag("--cold", words->cold, "Weights in no cache: the default");
  arguments.add_flag("--hot", words->hot, "One copy of the weights, which stays in a cache if it fits");
  arguments.add_flag("--cliff", words->cliff, "CUDA: M = 1..257 by ones (or --m), and no neighbour may be far off");
  arguments.add_option("--random", words->random, "CUDA: so many random problems; none may be over 2.5 x roofline + 3 us")
      .value_name("COUNT");
  arguments.add_option("--seed", words->seed, "Of all random data").show_default().value_name("SEED");
  arguments.add_option("--seconds,--min-time", words->seconds, "Of timing, for each row; 0: what the device needs").value_name("SECONDS");
  arguments.add_option("--most-seconds", words->most_seconds, "CPU: skip calls that would take longer; 0: none; with --models 2")
      .value_name("SECONDS");
  arguments.add_option("--minutes", words->minutes, "Stop after so long; the same command goes on where it stopped").value_name("MINUTES");
  arguments.add_option("--peers", words->peers, "CUDA: figures of the peers; bench/peers/h200.json if not given").value_name("FILE");
  arguments.add_option("--out", words->out, "Folder for results.json, performance_results.csv, summary.md").value_name("FOLDER");
  add_json_flag(arguments, words->json);
  arguments.footer(
      "Example:\n  billfish bench --models meta-llama/Llama-2-7b-hf/TP1 --batch-sizes 1 16 256 --out results\n  billfish bench --device "
      "cpu --shapes llama-3-8b --m 1,16,256 --precision full,bf16\n  billfish bench --device cuda "
      "--out "
      "bench/results/h200-today --minutes 6");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
