// SPDX-License-Identifier: Apache-2.0
// What is known of a GPU: the driver's facts, what it could do by them, and what was measured; of a device that is here or from a file
// that `gpu snapshot --json` wrote. Called by gpu_*.cpp and show_plan.cpp.
#pragma once

#include <string>

#include "billfish/billfish_tools.h"
#include "json.hpp"

namespace billfish::cli {

// Theoretical figures, from clocks and widths; 0 where the architecture is not known.
struct Theory {
  double read_gbps = 0, l2_gbps = 0, shared_gbps = 0, tensor_tflops = 0;
};

struct GpuFacts {
  billfish_cuda_facts facts = BILLFISH_CUDA_FACTS_INIT;
  billfish_cuda_figures figures = BILLFISH_CUDA_FIGURES_INIT;  // all 0: not measured
  std::string source;                                          // "device 0", or the file's path
  std::string when;                                            // of the file
  Theory theory() const;
  double best_read_gbps() const { return figures.read_gbps > 0 ? figures.read_gbps : theory().read_gbps; }
};

// The file if `path` is not empty; else the first device here; else bench/devices/h200.json. Failure(kBadInput) says what is wrong with a
// file.
GpuFacts gpu_facts(const std::string& path);
GpuFacts read_gpu_facts(const std::string& path);

Json json_of(const billfish_cuda_facts& facts);
Json json_of(const billfish_cuda_figures& figures);
Json json_of(const Theory& theory);

}  // namespace billfish::cli
