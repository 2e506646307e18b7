// SPDX-License-Identifier: Apache-2.0
// Which implementation and plan a benchmarked problem gets, asked through billfish_explain. Called by bench_cpu.cpp, bench_cuda.cpp.
#pragma once

#include <string>
#include <vector>

#include "bench_problem.hpp"

namespace billfish::cli {

struct BenchPlan {
  std::string implementation;  // its name
  std::string text;            // "wgmma_64x16 tile_n=256 stages=4 splits=8"
  bool dependent_launch = false;
};

// Names of the implementations that run on this kind of device here, in order of preference; or what was asked for.
std::vector<std::string> implementations_for(const BenchOptions& options);

// Failure(kUnsupported) with every refusal if nobody can. `implementation`: "" is the best.
BenchPlan chosen_plan(const BenchOptions& options, const std::string& implementation, std::int64_t m, std::int64_t n, std::int64_t k,
                      billfish_precision precision, billfish_element_type c_type, bool dependent);

}  // namespace billfish::cli
