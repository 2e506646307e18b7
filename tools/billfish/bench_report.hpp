// SPDX-License-Identifier: Apache-2.0
// What a benchmark run leaves: rows, ceilings, results.json, performance_results.csv, and the lines on the terminal. Filled by
// bench_cpu.cpp and bench_cuda.cpp. The files are rewritten every few seconds, so that a run that was cut short can go on.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "bench_problem.hpp"
#include "bench_rows.hpp"
#include "billfish/billfish_tools.h"
#include "cell_bar.hpp"
#include "json.hpp"

namespace billfish::cli {

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
  void read_earlier(const std::string& earlier);
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
