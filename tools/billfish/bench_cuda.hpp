// SPDX-License-Identifier: Apache-2.0
// `billfish bench --device cuda`: the measuring itself. Called by bench.cpp.
#pragma once

#include "bench_report.hpp"

namespace billfish::cli {

void bench_cuda(const BenchOptions& options, BenchReport& report);

}  // namespace billfish::cli
