// SPDX-License-Identifier: Apache-2.0
// What `billfish bench` was asked for: options as they are typed, and the layer shapes they name. Filled by bench.cpp and
// bench_shapes.cpp; read by bench_cpu.cpp and bench_cuda.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "billfish/billfish.h"
#include "device.hpp"

namespace billfish::cli {

struct BenchShape {
  std::int64_t k = 0, n = 0;
  std::string label;  // "llama-3-8b up_proj", or "K x N"
};

// --models: "meta-llama/Llama-2-7b-hf/TP1": bench/shapes/models/<model>.txt, shared out over so many devices.
std::vector<BenchShape> read_models(const std::vector<std::string>& words);
// Every model and degree that --models takes, one a line.
std::string list_models();
// --shapes: files, or names of files in bench/shapes without ".txt"; empty: the default of the device.
std::vector<BenchShape> read_shapes(const std::vector<std::string>& words);
// A file of the benchmark's own ("shapes/h200.txt"): below BILLFISH_BENCH, ./bench, or where the program was built or installed.
// "" if it is nowhere.
std::string find_bench_file(const std::string& name);
std::string find_bench_folder(const std::string& name);

enum class Launches { off, on, both };  // dependent launch, CUDA only

struct BenchOptions {
  Device device;
  std::vector<BenchShape> shapes;
  std::vector<std::int64_t> m;
  billfish_weight_type type = BILLFISH_U4B8;
  std::int64_t group = 128;
  billfish_element_type act = BILLFISH_F16;
  std::vector<billfish_precision> precisions;  // CPU
  std::string implementation;                  // "": the best one
  bool every_implementation = false;           // that accepts the problem, instead
  bool act_order = false;
  bool hot = false;         // one copy of the weights, which stays in a cache if it fits
  double most_seconds = 0;  // a call that would take longer is skipped; 0: none is
  int threads = 0;          // CPU; 0: one a core
  Launches launches = Launches::both;
  bool no_workspace = false;     // CUDA: what a caller without one gets
  bool plain_workspace = false;  // CUDA: one that was not set to zeros
  bool batch_invariant = false;  // CUDA: BILLFISH_GEMM_BATCH_INVARIANT
  bool cliff = false;            // CUDA: neighbours along M, no cuBLAS
  std::int64_t random = 0;       // CUDA: that many random problems instead of shapes and m
  std::uint64_t seed = 1;
  double seconds = 1.2;  // CPU: of timing, for each row
  double minutes = 0;    // stop after that long; 0: when done
  std::string out;       // folder; "": none
  std::string peers;     // JSON with the peers' figures; "": none
  bool json = false;
};

}  // namespace billfish::cli
