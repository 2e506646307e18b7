// SPDX-License-Identifier: Apache-2.0
// One measurement of `billfish bench`, and how it is written to results.json and read back. The schema: bench/README.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "billfish/billfish_tools.h"
#include "json.hpp"
#include "members.hpp"

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
// What is not there is 0 or ""; Failure(kBadInput) for what no row can hold.
BenchRow row_of_json(const Members& json);

}  // namespace billfish::cli
