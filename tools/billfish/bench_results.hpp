// SPDX-License-Identifier: Apache-2.0
// A results.json of `billfish bench`, read back. Called by compare.cpp and plot.cpp. The schema: bench/README.md.
#pragma once

#include <string>
#include <vector>

#include "bench_report.hpp"

namespace billfish::cli {

struct BenchResults {
  std::string path, device, when, command;
  bool valid = true, complete = true;
  double read_gbps = 0, rate_gflops = 0;  // the run's ceilings: memory, and the fastest 16-bit (CPU: or f32) product
  std::vector<BenchRow> rows;
};

// A file, or a folder with a results.json. Failure(kBadInput) says what is wrong with it.
BenchResults read_results(const std::string& path);

}  // namespace billfish::cli
