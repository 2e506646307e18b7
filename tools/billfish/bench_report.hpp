// SPDX-License-Identifier: Apache-2.0
// What a benchmark run leaves: rows, ceilings, results.json, performance_results.csv, and the lines on the terminal. Filled by
// bench_cpu.cpp and bench_cuda.cpp. The files are rewritten every few seconds, so that a run that was cut short can go on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bench_problem.hpp"
#include "billfish/billfish_tools.h"
#include "cell_bar.hpp"
#include "json.hpp"

namespace billfish::cli {

struct BenchRow {
  std::string kind = "gemm";  // "gemm", "pack", "baseline", "cliff", "random"
  std::int64_t m = 0, n = 0, k = 0;
  std::string type, act, precision, implementation;
  std::int64_t group = 0;
  int threads = 0;
  billfish_summary us = BILLFISH_SUMMARY_INIT;  // microseconds
  double bytes = 0, operations = 0;             // that the problem needs
  double read_gbps = 0, rate_gflops = 0;        // the ceilings that this row is held against
  double vs_baseline = 0;                       // theirs / ours; 0: none
  double memory_saved = 0;                      // bytes of the weights in 16 bits / what is read of them packed; 0: does not apply
  bool act_order = false;
  double worst_error = 0, bound = 0;  // of the element that comes closest to its bound
  bool checked = true, correct = true;
  // CUDA only
  std::optional<bool> dependent_launch;
  double us_alternating = 0;  // median when replays take turns with cuBLAS's
  double vs_cublas = 0, vs_cublas_alternating = 0, vs_best_peer = 0;
  std::string best_peer, throttle, plan;
  double clock_mhz = 0, power_w = 0;

  double gbps() const { return us.median > 0 ? bytes / us.median * 1e-3 : 0; }
  double gflops() const { return us.median > 0 ? operations / us.median * 1e-3 : 0; }
  double tokens_per_second() const { return us.median > 0 ? static_cast<double>(m) / us.median * 1e6 : 0; }
  double roofline_us() const;
  double t_over_roofline() const { return roofline_us() > 0 ? us.median / roofline_us() : 0; }
  std::string key() const;  // which measurement it is: rows of one run have different keys
};

Json to_json(const BenchRow& row);
BenchRow row_of_json(const Json& json);

class BenchReport {
 public:
  BenchReport(const BenchOptions& options, std::string command);
  bool has(const BenchRow& row) const { return done_.contains(row.key()); }  // from an earlier, cut-short run into the same folder
  void add(BenchRow row);
  void note(const std::string& line);  // stderr, one line
  // What was not measured and why, listed at the end; once for every `key` (the reason itself if it is empty).
  void skip(const std::string& reason, const std::string& key = {});
  void warn(const std::string& line);  // what makes the figures doubtful: kept with them, and said at the end
  // For the bar on a terminal: how many cells there are, and that some are done.
  void expect(std::int64_t cells) { bar_.expect(cells); }
  void advance(std::int64_t cells, const std::string& what) { bar_.advance(cells, what); }
  void save();
  bool out_of_time() const;

  Json ceilings = Json::object();
  Json conditions = Json::object();                                 // driver, libraries: what else decides speed
  billfish_cpu_ceilings cpu_ceilings = BILLFISH_CPU_CEILINGS_INIT;  // of this run, once measured
  bool valid = true;
  std::vector<std::string> invalid_because;
  std::vector<BenchRow>& rows() { return rows_; }
  const BenchOptions& options() const { return options_; }

  // Tables, geometric means by M, what was skipped and the verdict; and summary.md.
  void finish();

 private:
  void keep(BenchRow row);
  void read_earlier(const std::filesystem::path& earlier);
  void print_row(const BenchRow& row);
  void look_at_the_machine();
  Json json_of_run() const;
  const BenchOptions options_;
  std::string command_, device_, when_;
  double start_ = 0, saved_ = 0;
  std::vector<BenchRow> rows_;
  std::set<std::string> done_;
  bool header_printed_ = false, complete_ = false;
  std::vector<std::string> skipped_, warnings_;
  std::set<std::string> skipped_keys_;
  CellBar bar_;
};

}  // namespace billfish::cli
