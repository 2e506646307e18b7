// SPDX-License-Identifier: Apache-2.0
// `billfish bench`: options, then bench_cpu.cpp or bench_cuda.cpp. Method: bench/README.md.
#include <fmt/core.h>

#include <memory>
#include <numeric>

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
constexpr std::int64_t kMostSize = std::int64_t{1} << 31;

struct Words {
  std::string device, shapes, m, type = "u4b8", act = "f16", precision = "full", implementation, launches = "both", out, peers;
  std::int64_t n = 0, k = 0, group = 128, random = 0, seed = 1;
  int threads = 0;
  double minutes = 0, seconds = 1.2;
  bool cliff = false, no_workspace = false, batch_invariant = false, json = false;
};

Launches parse_launches(const std::string& word) {
  if (word == "off") return Launches::off;
  if (word == "on") return Launches::on;
  if (word == "both") return Launches::both;
  fail(kUsage, "--dependent-launch has the value '{}': use on, off or both", word);
}

std::vector<std::int64_t> default_m(const BenchOptions& options) {
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
  options.act = parse_element_type(words.act, "--act");
  if (cuda && options.act == BILLFISH_F32) fail(kUnsupported, "--act f32: activations on CUDA are f16 or bf16");
  options.group = words.group;
  if (options.group != -1 && options.group < 1)
    fail(kUsage, "--group has the value {}: use -1 (all of K) or a positive number", options.group);
  for (const std::string& word : split_list(words.precision)) options.precisions.push_back(parse_precision(word));
  options.implementation = words.implementation;
  options.threads = words.threads;
  options.launches = parse_launches(words.launches);
  options.no_workspace = words.no_workspace;
  options.batch_invariant = words.batch_invariant;
  if (!cuda && (words.no_workspace || words.batch_invariant)) fail(kUsage, "--no-workspace and --batch-invariant are for --device cuda");
  options.cliff = words.cliff;
  options.random = words.random;
  if (!cuda && (words.cliff || words.random > 0)) fail(kUsage, "--cliff and --random are for --device cuda");
  options.seed = static_cast<std::uint64_t>(words.seed);
  options.minutes = words.minutes;
  options.seconds = words.seconds;
  options.out = words.out;
  options.json = words.json;
  options.m = words.m.empty() ? default_m(options) : parse_numbers(words.m, "--m", 1, kMostM);
  if ((words.n > 0) != (words.k > 0)) fail(kUsage, "--n and --k go together: give both, or name --shapes");
  if (words.n > 0) {
    if (words.n > kMostSize || words.k > kMostSize) fail(kUsage, "--n and --k are at most {}", kMostSize);
    options.shapes.push_back({words.k, words.n, fmt::format("{} x {}", words.k, words.n)});
  }
  std::vector<std::string> names = split_list(words.shapes);
  if (names.empty() && options.shapes.empty() && options.random == 0) names = {cuda ? "h200" : "cpu"};
  for (BenchShape& shape : read_shapes(names)) options.shapes.push_back(std::move(shape));
  options.peers = words.peers;
  if (cuda && options.peers.empty()) options.peers = find_bench_file("peers/h200.json");
  return options;
}

int run(Words words) {
  const BenchOptions options = options_of(words);
  BenchReport report(options, command_of(words));
  if (options.device.kind == BILLFISH_CPU) {
    bench_cpu(options, report);
  } else {
    bench_cuda(options, report);
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

Runner add_bench(CLI::App& app) {
  auto words = std::make_shared<Words>();
  add_device_option(app, words->device);
  add_list_option(app, "--shapes", words->shapes,
                  "Files with \"K N label\" lines, or names of them in bench/shapes (h200, cpu, llama-3-8b)")
      ->type_name("NAME...");
  app.add_option("--n", words->n, "One shape instead: columns of the weights")->type_name("N");
  app.add_option("--k", words->k, "and rows")->type_name("K");
  add_list_option(app, "--m", words->m, "Rows of activations")->type_name("M...");
  app.add_option("--type", words->type, "u4b8, u4, u8b128 or u8")->capture_default_str()->type_name("TYPE");
  app.add_option("--group", words->group, "Codes along K that share a scale; -1: all of K")->capture_default_str()->type_name("G");
  app.add_option("--act", words->act, "Type of activations: f32 (CPU only), f16 or bf16")->capture_default_str()->type_name("TYPE");
  add_list_option(app, "--precision", words->precision, "CPU: full, bf16, int8")->type_name("WORD...");
  app.add_option("--implementation", words->implementation, "Force one by name")->type_name("NAME");
  add_threads_option(app, words->threads);
  app.add_option("--dependent-launch", words->launches, "CUDA: on, off or both")->capture_default_str()->type_name("WORD");
  app.add_flag("--no-workspace", words->no_workspace, "CUDA: what a caller without a workspace gets, as marlin_cuda's do");
  app.add_flag("--batch-invariant", words->batch_invariant, "CUDA: a row's bits depend neither on M nor on its neighbours");
  app.add_flag("--cliff", words->cliff, "CUDA: M = 1..257 by ones (or --m), and no neighbour may be far off");
  app.add_option("--random", words->random, "CUDA: so many random problems; none may be over 2.5 x roofline + 3 us")->type_name("COUNT");
  app.add_option("--seed", words->seed, "Of all random data")->capture_default_str()->type_name("SEED");
  app.add_option("--seconds", words->seconds, "CPU: of timing, for each row")->capture_default_str()->type_name("SECONDS");
  app.add_option("--minutes", words->minutes, "Stop after so long; the same command goes on where it stopped")->type_name("MINUTES");
  app.add_option("--peers", words->peers, "CUDA: figures of the peers; bench/peers/h200.json if not given")->type_name("FILE");
  app.add_option("--out", words->out, "Folder for results.json and performance_results.csv")->type_name("FOLDER");
  add_json_flag(app, words->json);
  app.footer(
      "Example:\n  billfish bench --device cpu --shapes llama-3-8b --m 1,16,256 --precision full,bf16\n  billfish bench --device cuda "
      "--out "
      "bench/results/h200-today --minutes 6");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
