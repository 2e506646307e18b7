// SPDX-License-Identifier: Apache-2.0
// The peers' figures on a device (bench/peers/h200.json): per cell cuBLAS's time and the best peer's ratio to it. Called by
// bench_cuda.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "bench_report.hpp"

namespace billfish::cli {

struct PeerCell {
  double cublas_us = 0;
  double best_over_cublas = 0;  // time of the best of all peers and cuBLAS / time of cuBLAS
  std::string best;
};

class Peers {
 public:
  explicit Peers(const std::string& path);  // "": none
  const PeerCell* find(std::int64_t m, std::int64_t n, std::int64_t k) const;
  const std::string& device() const { return device_; }

 private:
  std::string device_;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, PeerCell> cells_;
};

// A run is not valid when its cuBLAS, averaged over a row of M, is more than 8 % off the peers' run: throttled or shared machine.
void judge_run(const Peers& peers, BenchReport& report);

}  // namespace billfish::cli
