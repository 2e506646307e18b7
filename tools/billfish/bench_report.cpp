// SPDX-License-Identifier: Apache-2.0
#include "bench_report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <thread>

#include "bench_results.hpp"
#include "bench_summary.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "interrupt.hpp"
#include "machine.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kColumns[] = {"kind",
                                    "m",
                                    "n",
                                    "k",
                                    "type",
                                    "group",
                                    "act",
                                    "precision",
                                    "implementation",
                                    "threads",
                                    "us_median",
                                    "us_min",
                                    "us_max",
                                    "us_p10",
                                    "us_p90",
                                    "samples",
                                    "gbps",
                                    "gflops",
                                    "t_over_roofline",
                                    "vs_baseline",
                                    "worst_error",
                                    "bound",
                                    "dependent_launch",
                                    "us_alternating",
                                    "vs_cublas",
                                    "vs_cublas_alternating",
                                    "vs_best_peer",
                                    "best_peer",
                                    "clock_mhz",
                                    "power_w",
                                    "throttle",
                                    "tokens_per_s",
                                    "roofline_percent",
                                    "memory_saved",
                                    "act_order",
                                    "status"};

constexpr double kSaveSeconds = 0.5;
constexpr double kBusyPercent = 20, kBusyLoad = 0.5;  // of the device's time; of the processors

std::string csv_cell(const Json& value) {
  if (value.is_null()) return "";
  std::string text = value.is_string() ? value.get<std::string>() : text_of_json(value);
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

void write_text_file(const fs::path& path, const std::string& text, std::optional<std::string> last_words = {}) {
  OutputFile file(path.string());
  file.write(text.data(), text.size());
  file.commit(std::move(last_words));
}

std::string ratio_text(double value) { return value > 0 ? fmt::format("{:.2f}", value) : "-"; }

double mean_of(const std::vector<double>& values) {  // geometric
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return values.empty() ? 0 : std::exp(sum / static_cast<double>(values.size()));
}

}  // namespace

BenchReport::BenchReport(const BenchOptions& options, std::string command)
    : options_(options),
      command_(std::move(command)),
      device_(machine_name(options.device)),
      when_(now_text()),
      start_(billfish_tools_now()) {
  look_at_the_machine();
  if (const char* plans = std::getenv("BILLFISH_PLANS"); plans != nullptr && plans[0] != '\0') conditions["plans"] = plans;
  set_last_words("billfish bench: interrupted; nothing is kept: with --out FOLDER the same command could go on");
  if (options.out.empty()) return;
  read_earlier((fs::path(options.out) / "results.json").string());
  save();  // a place that cannot be written is better known now
}

// Rows of a run into the same folder that was cut short.
void BenchReport::read_earlier(const std::string& earlier) {
  std::error_code error;
  if (!fs::is_regular_file(earlier, error)) return;
  const BenchResults before = read_results_file(earlier, "remove it or choose another --out");
  if (before.device != device_) {
    fail(kBadInput, "{}: measured on {}, this is {}; one run, one folder: choose another --out", earlier,
         before.device.empty() ? "an unknown device" : before.device, device_);
  }
  if (before.command != command_) {
    fail(kBadInput, "{}: of another command: {}; one run, one folder: type that command to go on with it, or name another folder by --out",
         earlier, before.command.empty() ? "an unknown one" : before.command);
  }
  if (!before.when.empty()) when_ = before.when;
  for (const BenchRow& row : before.rows) keep(row);
  for (const std::string& line : before.warnings) warn(line);
  note(fmt::format("going on with {}: {} rows are there already", earlier, rows_.size()));
}

void BenchReport::note(const std::string& line) {
  bar_.clear();
  std::fflush(stdout);
  say(line + "\n");
}

bool BenchReport::out_of_time() const { return options_.minutes > 0 && billfish_tools_now() - start_ > options_.minutes * 60; }

void BenchReport::keep(BenchRow row) {
  if (!row.correct) {
    valid = false;
    invalid_because.push_back(fmt::format("{} m={} n={} k={}: error {:.3g} where the bound is {:.3g}", row.implementation, row.m, row.n,
                                          row.k, row.worst_error, row.bound));
  }
  done_.insert(row.key());
  rows_.push_back(std::move(row));
}

void BenchReport::add(BenchRow row) {
  print_row(row);
  keep(std::move(row));
  if (billfish_tools_now() - saved_ > kSaveSeconds) save();
}

void BenchReport::skip(const std::string& reason, const std::string& key) {
  if (skipped_keys_.insert(key.empty() ? reason : key).second) skipped_.push_back(reason);
}

void BenchReport::warn(const std::string& line) {
  if (std::find(warnings_.begin(), warnings_.end(), line) == warnings_.end()) warnings_.push_back(line);
}

// Before anything runs: is somebody else at work here?
void BenchReport::look_at_the_machine() {
  if (options_.device.kind == BILLFISH_CUDA) {
    billfish_cuda_telemetry telemetry = BILLFISH_CUDA_TELEMETRY_INIT;
    check(billfish_tools_cuda_telemetry(options_.device.index, &telemetry));
    if (telemetry.known == 0) return;
    conditions["busy_percent_before"] = telemetry.busy_percent;
    if (telemetry.busy_percent > kBusyPercent) {
      warn(fmt::format("the device was busy before the run began: {:.0f} % of the time", telemetry.busy_percent));
    }
    return;
  }
  double load = 0;
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  if (std::FILE* file = std::fopen("/proc/loadavg", "r"); file != nullptr) {
    const int read = std::fscanf(file, "%lf", &load);
    std::fclose(file);
    if (read != 1) return;
    conditions["load_before"] = load;
    if (load > kBusyLoad * cores) {
      warn(fmt::format("the machine was busy before the run began: {:.1f} processes wanted to run on {} processors", load, cores));
    }
  }
}

void BenchReport::print_row(const BenchRow& row) {
  if (options_.json) return;
  bar_.clear();
  const bool cuda = options_.device.kind == BILLFISH_CUDA;
  if (!header_printed_) {
    fmt::print("{:8} {:>6} {:>6} {:>6} {:9} {:22} {:>10} {:>7} {:>9} {:>9} {:>6} {}\n", "kind", "m", "n", "k", "type", "implementation",
               "us", "spread", "GB/s", "GFLOP/s", "t/roof", cuda ? "vs cuBLAS  vs peer  MHz    W  error/bound" : "vs dense  error/bound");
    header_printed_ = true;
  }
  const double spread = row.us.median > 0 ? (row.us.p90 - row.us.p10) / row.us.median * 100 : 0;
  std::string name = row.implementation;
  if (!row.precision.empty() && !cuda) name += " " + row.precision;
  if (row.dependent_launch) name += *row.dependent_launch ? " dependent" : "";
  const std::string error =
      row.checked ? fmt::format("{:.3f}{}", row.bound > 0 ? row.worst_error / row.bound : 0.0, row.correct ? "" : " FAILED") : "-";
  fmt::print("{:8} {:6} {:6} {:6} {:9} {:22} {:10.2f} {:6.1f}% {:9.1f} {:9.0f} {:>6} ", row.kind, row.m, row.n, row.k,
             row.type + (row.group > 0 ? "/" + std::to_string(row.group) : ""), name, row.us.median, spread, row.gbps(), row.gflops(),
             ratio_text(row.t_over_roofline()));
  if (cuda) {
    fmt::print("{:>9} {:>8} {:5.0f} {:4.0f}  {}\n", ratio_text(row.vs_cublas), ratio_text(row.vs_best_peer), row.clock_mhz, row.power_w,
               error);
  } else {
    fmt::print("{:>8}  {}\n", ratio_text(row.vs_baseline), error);
  }
  std::fflush(stdout);
}

void BenchReport::save() {
  if (options_.out.empty()) return;
  saved_ = billfish_tools_now();
  std::error_code error;
  fs::create_directories(options_.out, error);
  if (error) fail(kBadInput, "--out {}: cannot make this folder: {}", options_.out, error.message());
  const Json json = json_of_run();
  std::string csv;
  for (const char* column : kColumns) csv += (csv.empty() ? "" : ",") + std::string(column);
  for (const BenchRow& row : rows_) {
    const Json one = to_json(row);
    csv += "\n";
    for (const char* column : kColumns) {
      if (column != kColumns[0]) csv += ",";
      if (one.contains(column)) csv += csv_cell(one[column]);
    }
  }
  write_text_file(fs::path(options_.out) / "performance_results.csv", csv + "\n");
  write_text_file(fs::path(options_.out) / "summary.md", summary_of(json, rows_));
  // Last, and with the words about them: these are the rows that the same command goes on with.
  const fs::path results = fs::path(options_.out) / "results.json";
  write_text_file(results, text_of_json(json, 1) + "\n",
                  complete_ ? std::string()
                            : fmt::format("billfish bench: interrupted; {} rows are kept in {}, and the same command goes on with them",
                                          rows_.size(), results.string()));
}

Json BenchReport::json_of_run() const {
  // "complete" is false until the run has ended by itself: what an interrupted one leaves says so.
  Json json = {{"schema", 1}, {"device", device_}, {"when", when_}, {"command", command_}, {"valid", valid}, {"complete", complete_}};
  if (!invalid_because.empty()) json["invalid_because"] = invalid_because;
  json["ceilings"] = ceilings;
  if (!conditions.empty()) json["conditions"] = conditions;
  if (!warnings_.empty()) json["warnings"] = warnings_;
  if (!skipped_.empty()) json["skipped"] = skipped_;
  json["rows"] = Json::array();
  for (const BenchRow& row : rows_) json["rows"].push_back(to_json(row));
  return json;
}

void BenchReport::finish() {
  bar_.clear();
  for (const BenchRow& row : rows_) {
    for (const char* reason : {"thermal", "hardware slowdown", "power brake"}) {
      if (row.throttle.find(reason) != std::string::npos) warn(std::string("the device was throttled during the run: ") + reason);
    }
  }
  complete_ = !out_of_time();
  save();
  set_last_words({});
  const auto say_what_is_missing = [&] {
    if (complete_) return;
    note(fmt::format("billfish bench: not complete: the {:g} minutes of --minutes are over; {}", options_.minutes,
                     options_.out.empty() ? "with --out FOLDER the same command could go on" : "the same command goes on"));
  };
  if (options_.json) {
    print_json(json_of_run());
    say_what_is_missing();
    return;
  }
  struct Means {
    std::vector<double> roofline, baseline, cublas, peer;
  };
  std::map<std::pair<std::string, std::int64_t>, Means> means;  // by what runs and M
  for (const BenchRow& row : rows_) {
    if (row.kind != "gemm" || !row.correct) continue;
    std::string name = row.implementation + " " + row.type + " " + row.precision;
    if (row.dependent_launch) name += *row.dependent_launch ? " dependent" : " isolated";
    Means& mean = means[{name, row.m}];
    if (row.t_over_roofline() > 0) mean.roofline.push_back(row.t_over_roofline());
    if (row.vs_baseline > 0) mean.baseline.push_back(row.vs_baseline);
    if (row.vs_cublas > 0) mean.cublas.push_back(row.vs_cublas);
    if (row.vs_best_peer > 0) mean.peer.push_back(row.vs_best_peer);
  }
  const bool cuda = options_.device.kind == BILLFISH_CUDA;
  Table table(cuda ? std::vector<std::string>{"geometric means", "m", "shapes", "t/roofline", "vs cuBLAS", "vs best peer"}
                   : std::vector<std::string>{"geometric means", "m", "shapes", "t/roofline", "vs dense"});
  for (const auto& [key, mean] : means) {
    std::vector<std::string> cells = {key.first, std::to_string(key.second), std::to_string(mean.roofline.size()),
                                      ratio_text(mean_of(mean.roofline))};
    if (cuda) {
      cells.push_back(ratio_text(mean_of(mean.cublas)));
      cells.push_back(ratio_text(mean_of(mean.peer)));
    } else {
      cells.push_back(ratio_text(mean_of(mean.baseline)));
    }
    table.add(cells);
  }
  if (options_.every_implementation) fmt::print("{}", tables_of(rows_));
  if (!means.empty()) fmt::print("\n{}", table.text());
  for (const std::string& reason : skipped_) fmt::print("skipped: {}\n", reason);
  for (const std::string& line : warnings_) fmt::print("warning: {}\n", line);
  for (const std::string& reason : invalid_because) fmt::print("not valid: {}\n", reason);
  if (!options_.out.empty()) fmt::print("\nwritten: {}/results.json, performance_results.csv, summary.md\n", options_.out);
  say_what_is_missing();
}

}  // namespace billfish::cli
