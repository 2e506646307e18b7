// SPDX-License-Identifier: Apache-2.0
// A results.json of `billfish bench`, read back. Called by compare.cpp, plot.cpp and bench_report.cpp. The schema: bench/README.md.
#pragma once

#include <string>
#include <vector>

#include "bench_rows.hpp"

namespace billfish::cli {

struct BenchResults {
  std::string path, device, when, command;
  bool valid = true, complete = true;
  double read_gbps = 0, rate_gflops = 0;  // the run's ceilings: memory, and the fastest 16-bit (CPU: or f32) product
  std::vector<BenchRow> rows;
  std::vector<std::string> warnings;
};

// A file, or a folder with a results.json. Failure(kBadInput) says what is wrong with it; no rows are wrong, too.
BenchResults read_results(const std::string& path);
// A file, perhaps without rows yet. remedy: what to do about one that is wrong.
BenchResults read_results_file(const std::string& path, const std::string& remedy);

}  // namespace billfish::cli
