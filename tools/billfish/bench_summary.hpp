// SPDX-License-Identifier: Apache-2.0
// A benchmark run for people: tables of implementations by M for the terminal, and summary.md. Called by bench_report.cpp,
// compare.cpp and plot.cpp.
#pragma once

#include <string>
#include <vector>

#include "bench_report.hpp"

namespace billfish::cli {

// One table a layer and activation type: rows are M, columns implementations, cells microseconds and speed-up over the baseline; the best
// of a row is bold on a terminal.
std::string tables_of(const std::vector<BenchRow>& rows);

// Markdown of a run: its JSON, and the rows in that.
std::string summary_of(const Json& run, const std::vector<BenchRow>& rows);

// A column of such tables: "sm90 dependent", "dense avx2 f32".
std::string contender_of(const BenchRow& row);

}  // namespace billfish::cli
