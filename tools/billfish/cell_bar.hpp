// SPDX-License-Identifier: Apache-2.0
// How far a run of measurements is: a bar on a terminal (stderr) with the cells done and the time left. Called by bench_report.hpp and
// tune.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace billfish::cli {

class CellBar {
 public:
  CellBar();
  void expect(std::int64_t cells) { cells_ = cells; }
  void advance(std::int64_t cells, const std::string& what);
  void say_what(const std::string& what);  // within a cell
  void clear();                            // so that other text can be printed

 private:
  void draw();
  double start_;
  std::int64_t cells_ = 0, done_ = 0;
  std::string what_;
  bool drawn_ = false;
};

}  // namespace billfish::cli
