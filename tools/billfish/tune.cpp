// SPDX-License-Identifier: Apache-2.0
// `billfish tune`: options, the cells one after the other, a line for each, and the sum of it. What it finds: docs/tuning.md.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "commands.hpp"
#include "errors.hpp"
#include "interrupt.hpp"
#include "lists.hpp"
#include "options.hpp"
#include "tune.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kMostM = 1 << 20, kMostSize = std::int64_t{1} << 31;
constexpr int kMostSeconds = 3600, kMostMinutes = 7 * 24 * 60;
constexpr std::int64_t kMostFinalists = 64;

struct Words {
  std::string device, shapes, m, type = "u4b8", act = "f16", implementation = "best", launches = "on", out;
  std::vector<std::string> models;
  std::int64_t n = 0, k = 0, group = 128, finalists = 6;
  int threads = 0;
  double minutes = 0, seconds = 0;
  bool plain_workspace = false, json = false;
};

std::string command_of(const Words& words) {
  std::string text = "billfish tune --device " + words.device;
  if (!words.shapes.empty()) text += " --shapes " + words.shapes;
  for (std::size_t i = 0; i < words.models.size(); ++i) text += (i == 0 ? " --models " : " ") + words.models[i];
  if (words.n > 0) text += fmt::format(" --n {} --k {}", words.n, words.k);
  if (!words.m.empty()) text += " --m " + words.m;
  text += fmt::format(" --type {} --group {} --act {} --implementation {}", words.type, words.group, words.act, words.implementation);
  if (words.device == "cpu") {
    text += fmt::format(" --threads {}", words.threads);
  } else {
    text += " --dependent-launch " + words.launches;
    if (words.plain_workspace) text += " --plain-workspace";
  }
  return text;
}

TuneOptions options_of(Words& words) {
  TuneOptions options;
  BenchOptions& bench = options.bench;
  bench.device = choose_device(words.device);
  const bool cuda = bench.device.kind == BILLFISH_CUDA;
  if (words.device.empty()) words.device = cuda ? "cuda" : "cpu";
  bench.type = parse_weight_type(words.type);
  bench.act = parse_element_type(words.act, "--act");
  if (cuda && bench.act == BILLFISH_F32) fail(kUnsupported, "--act f32: activations on CUDA are f16 or bf16");
  bench.group = words.group;
  if (bench.group != -1 && bench.group < 1) fail(kUsage, "--group has the value {}: use -1 (all of K) or a positive number", bench.group);
  bench.every_implementation = words.implementation == "all";
  bench.implementation = words.implementation == "all" || words.implementation == "best" ? "" : words.implementation;
  if (words.launches != "on" && words.launches != "off") {
    fail(kUsage, "--dependent-launch has the value '{}': use on or off", words.launches);
  }
  options.dependent = cuda && words.launches == "on";
  bench.plain_workspace = words.plain_workspace;
  if (!cuda && words.plain_workspace) fail(kUsage, "--plain-workspace is for --device cuda");
  if (!(words.seconds >= 0 && words.seconds <= kMostSeconds)) {
    fail(kUsage, "--seconds is {}: 0 (what the device needs) to {} are possible", words.seconds, kMostSeconds);
  }
  if (!(words.minutes >= 0 && words.minutes <= kMostMinutes)) {
    fail(kUsage, "--minutes is {}: 0 (no limit) to {} are possible", words.minutes, kMostMinutes);
  }
  if (words.finalists < 1 || words.finalists > kMostFinalists) {
    fail(kUsage, "--finalists is {}: 1 to {} are possible", words.finalists, kMostFinalists);
  }
  options.finalists = words.finalists;
  bench.threads = words.threads;
  bench.minutes = words.minutes;
  bench.seconds = words.seconds;
  bench.json = words.json;
  bench.out = words.out;
  if (bench.out.empty()) fail(kUsage, "--out is empty: name the file that the plans are written to");
  const std::vector<std::int64_t> usual = cuda ? std::vector<std::int64_t>{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192}
                                               : std::vector<std::int64_t>{1, 16, 128};
  bench.m = words.m.empty() ? usual : parse_numbers(words.m, "--m", 1, kMostM);
  std::sort(bench.m.begin(), bench.m.end());
  bench.m.erase(std::unique(bench.m.begin(), bench.m.end()), bench.m.end());
  if ((words.n > 0) != (words.k > 0)) fail(kUsage, "--n and --k go together: give both, or name --shapes or --models");
  if (words.n < 0 || words.k < 0 || words.n > kMostSize || words.k > kMostSize) fail(kUsage, "--n and --k are 1 to {}", kMostSize);
  if (words.n > 0) bench.shapes.push_back({words.k, words.n, fmt::format("{} x {}", words.k, words.n)});
  std::vector<std::string> models;
  for (const std::string& word : words.models) {
    for (const std::string& name : split_list(word)) models.push_back(name);
  }
  for (BenchShape& shape : read_models(models)) bench.shapes.push_back(std::move(shape));
  std::vector<std::string> names = split_list(words.shapes);
  if (names.empty() && bench.shapes.empty()) names = {cuda ? "h200" : "cpu"};
  for (BenchShape& shape : read_shapes(names)) bench.shapes.push_back(std::move(shape));
  return options;
}

void print_header() {
  fmt::print("{:28} {:>6} {:>5}  {:30} {:>9}  {:30} {:>9} {:>7}\n", "layer", "m", "plans", "the library's choice", "us",
             "the fastest found", "us", "faster");
}

double gain_of(const Json& entry) {
  const double us = number_of(entry, "us"), model = number_of(entry, "model_us");
  return us > 0 && model > 0 ? model / us : 1;
}

void print_row(const Json& entry) {
  const double gain = gain_of(entry);
  const bool known = entry.contains("model_plan");
  fmt::print("{:28} {:6} {:5}  {:30} {:9.2f}  {:30} {:9.2f} {:6.1f}%\n", words_of(entry, "label").substr(0, 28),
             entry["m_to"].get<std::int64_t>(), entry["candidates"]["rows"].size(), known ? text_of_plan(entry["model_plan"]) : "-",
             number_of(entry, "model_us"), gain > 1 || !known ? text_of_plan(entry["plan"]) : "the same", number_of(entry, "us"),
             (gain - 1) * 100);
  std::fflush(stdout);
}

void print_sum(const Json& plans, const std::string& out) {
  double logs = 0, most = 1;
  std::int64_t faster = 0;
  for (const Json& entry : plans) {
    const double gain = gain_of(entry);
    logs += std::log(gain);
    most = std::max(most, gain);
    faster += gain > 1 ? 1 : 0;
  }
  const double mean = plans.empty() ? 1 : std::exp(logs / static_cast<double>(plans.size()));
  fmt::print("\n{} plans, {} of them faster than the library's own choice: on average {:.1f} %, at most {:.1f} %\n", plans.size(), faster,
             (mean - 1) * 100, (most - 1) * 100);
  fmt::print("written: {}; to use it: BILLFISH_PLANS={} or billfish_load_plans\n", out, out);
}

int run(Words words) {
  const TuneOptions options = options_of(words);
  set_last_words("billfish tune: interrupted before the first plan was found");
  const std::unique_ptr<TuneDevice> device = options.bench.device.kind == BILLFISH_CUDA ? tune_on_cuda(options) : tune_on_cpu(options);
  check(billfish_load_plans(nullptr));  // the library's own choice is what others are held against
  CellBar bar;
  std::unique_ptr<TuneFile> file;
  std::vector<std::string> wrong;
  const double start = billfish_tools_now();
  const auto is_over = [&] { return options.bench.minutes > 0 && billfish_tools_now() - start > options.bench.minutes * 60; };
  std::int64_t left = static_cast<std::int64_t>(options.bench.shapes.size() * options.bench.m.size()), there = 0;
  bool complete = true;
  bar.expect(left);
  for (const BenchShape& shape : options.bench.shapes) {
    device->begin(shape);
    bool begun = false;
    for (const std::int64_t m : options.bench.m) {
      if (file == nullptr) {
        file = std::make_unique<TuneFile>(options, command_of(words), list_candidates(*device, options, m)["device"]);
        if (!options.bench.json) print_header();
      }
      if (file->has(entry_of(*device, options, shape, m))) {
        ++there;
        bar.expect(--left);
        continue;
      }
      complete = complete && !is_over();
      if (!complete) break;
      if (!begun) device->make_weights();
      begun = true;
      const std::vector<std::string> more = tune_cell(*device, options, shape, m, *file, bar);
      bar.clear();
      for (const std::string& line : more) say(fmt::format("billfish tune: wrong: {}\n", line));
      wrong.insert(wrong.end(), more.begin(), more.end());
      const Json& plans = file->document()["plans"];
      if (!options.bench.json && !plans.empty() && file->has(entry_of(*device, options, shape, m))) print_row(plans.back());
      bar.advance(1, shape.label);
    }
    if (!complete) break;
  }
  bar.clear();
  file->finish(complete);
  if (options.bench.json) {
    print_json(file->document());
  } else {
    if (there > 0) fmt::print("{} of them were there already\n", there);
    print_sum(file->document()["plans"], options.bench.out);
  }
  if (!complete) {
    std::fflush(stdout);
    say(fmt::format("billfish tune: not complete: the {:g} minutes of --minutes are over; the same command goes on\n",
                    options.bench.minutes));
  }
  if (!wrong.empty()) fail(kCheckFailed, "{} of the plans give wrong products, the first: {}", wrong.size(), wrong.front());
  return kOk;
}

}  // namespace

Runner add_tune(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  add_device_option(arguments, words->device);
  arguments.add_option("--out", words->out, "The file of plans; one that is there already is gone on with").required().value_name("FILE");
  add_list_option(arguments, "--shapes", words->shapes,
                  "Files with \"K N label\" lines, or names of them in bench/shapes (h200, cpu, llama-3-8b)")
      .value_name("NAME...");
  arguments.add_option("--models", words->models, "Layers of models, as meta-llama/Llama-2-7b-hf/TP1").several().value_name("MODEL...");
  arguments.add_option("--n", words->n, "One shape instead of the default ones: columns of the weights").positive().value_name("N");
  arguments.add_option("--k", words->k, "and rows").positive().value_name("K");
  add_list_option(arguments, "--m,--batch-sizes", words->m, "Rows of activations; 1 to 8192 by powers of two, on a CPU 1, 16 and 128")
      .value_name("M...");
  arguments.add_option("--type", words->type, "u4b8, u4, u8b128 or u8").show_default().value_name("TYPE");
  arguments.add_option("--group", words->group, "Codes along K that share a scale; -1: all of K").show_default().value_name("G");
  arguments.add_option("--act", words->act, "Type of activations: f32 (CPU only), f16 or bf16").show_default().value_name("TYPE");
  arguments.add_option("--implementation", words->implementation, "best (the one that the library would pick), all, or a name")
      .show_default()
      .value_name("NAME");
  arguments.add_option("--dependent-launch", words->launches, "CUDA: on or off, as the calls that the plans are for")
      .show_default()
      .value_name("WORD");
  arguments.add_flag("--plain-workspace", words->plain_workspace,
                     "CUDA: for calls whose workspace is not one of zeros (without BILLFISH_GEMM_ZEROED_WORKSPACE)");
  add_threads_option(arguments, words->threads);
  arguments.add_option("--finalists", words->finalists, "So many of the fastest are timed again, in turns")
      .show_default()
      .value_name("COUNT");
  arguments.add_option("--seconds", words->seconds, "CUDA: of timing, for each of the last few; 0: what the device needs")
      .value_name("SECONDS");
  arguments.add_option("--minutes", words->minutes, "Stop after so long; the same command goes on where it stopped").value_name("MINUTES");
  add_json_flag(arguments, words->json);
  arguments.footer(
      "Example:\n  billfish tune --device cuda --shapes llama-3-8b --m 1 16 64 256 --out plans.json\n  BILLFISH_PLANS=plans.json billfish "
      "explain --m 64 --n 4096 --k 4096 --device cuda --dependent-launch --zeroed-workspace");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
