// SPDX-License-Identifier: Apache-2.0
// The parts of `billfish tune`: what was asked for, a device that candidates are tried on, the search of one cell, the file. tune.cpp puts
// them together.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench_problem.hpp"
#include "billfish/billfish_tools.h"
#include "cell_bar.hpp"
#include "interrupt.hpp"
#include "json.hpp"

namespace billfish::cli {

struct TuneOptions {
  BenchOptions bench;          // device, shapes, m, types, implementation ("": the one that the library would pick), seconds, minutes, out
  bool dependent = true;       // CUDA: dependent launches
  std::int64_t finalists = 6;  // candidates that are timed again
};

// A plan that could run a cell, as the library lists it, and what became of it.
struct Candidate {
  std::int64_t index = 0;
  Json plan;
  bool chosen = false;  // by the library itself
  bool correct = true;
  double us_quick = 0, us = 0;  // 0: not timed
};
std::string text_of_plan(const Json& plan);  // "128x64 splits=2 blocks=264"

// The device that products run on: tune_cpu.cpp, tune_cuda.cpp. Products are run by the candidate that is in use.
class TuneDevice {
 public:
  virtual ~TuneDevice() = default;
  virtual std::string name() const = 0;             // as billfish_explain takes it
  virtual void begin(const BenchShape& shape) = 0;  // from now on it is about this shape
  virtual void make_weights() = 0;                  // of this shape: before anything that runs a product
  virtual billfish_problem problem(std::int64_t m) const = 0;
  virtual std::string check(std::int64_t m, const std::string& plan) = 0;  // "": the product is right; else what is wrong with it
  virtual double glance(std::int64_t m) = 0;                               // microseconds of a product, roughly
  virtual double quick(std::int64_t m) = 0;                                // microseconds, the median of a few
  // Medians of so many candidates that take turns; use(i) puts the i-th in use.
  virtual std::vector<double> take_turns(std::int64_t m, std::size_t count, const std::function<void(std::size_t)>& use) = 0;
};
std::unique_ptr<TuneDevice> tune_on_cpu(const TuneOptions& options);
std::unique_ptr<TuneDevice> tune_on_cuda(const TuneOptions& options);

constexpr int kTuneSchema = 1;
// An earlier file of plans. facts: of the device here. Failure(kBadInput) if it is no such file, or of another device.
Json read_tune_file(const std::string& path, const Json& facts);

// The file of plans: written after every cell, so that a search that was cut short goes on.
class TuneFile {
 public:
  // device: as the library describes it. Failure(kBadInput) if what is there is no such file, or of another device.
  TuneFile(const TuneOptions& options, const std::string& command, const Json& device);
  TuneFile(const TuneFile&) = delete;
  TuneFile& operator=(const TuneFile&) = delete;
  bool has(const Json& entry) const;  // a plan for that problem and m
  void add(Json entry);               // and writes the file
  void finish(bool complete);
  const Json& document() const { return document_; }

  // A candidate whose kernel never ends takes the process with it. What was being tried then is found by the next run, which leaves it out;
  // likewise what a device refused to run.
  bool is_given_up(const std::string& candidate) const;
  void give_up(const std::string& candidate);
  void trying(const std::string& candidate);  // "": nothing any more

 private:
  void set_ranges();
  void save();
  std::string path_, beside_;
  Json document_;
  std::unique_ptr<Temporary> trying_;
};

// Tries all candidates of one cell and adds what it found to the file. Returns the wrong ones, as sentences.
std::vector<std::string> tune_cell(TuneDevice& device, const TuneOptions& options, const BenchShape& shape, std::int64_t m, TuneFile& file,
                                   CellBar& bar);
// What such an entry would be for, but for the plan.
Json entry_of(const TuneDevice& device, const TuneOptions& options, const BenchShape& shape, std::int64_t m);
// The library's list of candidates: {"device": ..., "candidates": [...]}.
Json list_candidates(const TuneDevice& device, const TuneOptions& options, std::int64_t m);

}  // namespace billfish::cli
