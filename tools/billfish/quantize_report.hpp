// SPDX-License-Identifier: Apache-2.0
// `billfish quantize --report DIR`: what quantising did, as report.md with pictures (gnuplot), layers.csv and report.json. Keeps numbers of
// every layer, never matrices. Called by quantize.cpp and quantize_demo.cpp.
//
//   quantize_report.cpp          the files, in order of time: report.json, layers.csv and report.md after every layer, pictures at the end
//   quantize_report_measure.cpp  a finished layer -> its numbers (histograms, channels, error against group size)
//   quantize_report_data.cpp     what is picked out of those numbers, and the names of methods and kinds of layers
//   quantize_report_json.cpp     those numbers in report.json and back, so that --resume goes on with them
//   quantize_report_text.cpp     report.md, layers.csv, groups.csv, channels.csv
//   quantize_report_plots.cpp    the pictures as gnuplot scripts; those with one value a layer in quantize_report_panels.cpp, what they
//                                have in common in quantize_report_style.cpp
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "billfish/billfish_quantize.h"

namespace billfish::cli {

// What the numbers are about. The pointers in `options` must live as long as the report.
struct QuantizeReportFacts {
  std::string in, out, command;  // as the person gave them; command: the whole line
  billfish_quantize_model_options options = BILLFISH_QUANTIZE_MODEL_OPTIONS_INIT;
};

// What is to be said of a finished layer: the library's own words, damping that had to be raised far beyond what was asked, errors that
// could not be measured. "" if nothing. quantize_report_measure.cpp
std::string note_of(const billfish_quantize_layer& layer, const billfish_quantize_options& options);

// Inputs that were zero in every sample: GPTQ makes their weights 0. From a quarter of a layer's inputs on it is worth a warning.
inline bool many_dead(std::int64_t dead, std::int64_t k) { return 4 * dead > k; }

class QuantizeReport {
 public:
  // Makes the folder and tries to write into it: Failure(kBadInput) if that is not possible, Failure(kUsage) if another program's
  // report.md is there. With options.resume, layers of an earlier report about the same output are kept.
  QuantizeReport(const std::string& folder, const QuantizeReportFacts& facts);
  QuantizeReport(const QuantizeReport&) = delete;
  QuantizeReport& operator=(const QuantizeReport&) = delete;
  ~QuantizeReport();

  // Of layer_planned: matrices that stay as they are are listed with the reason.
  void plan(const char* layer, std::int64_t n, std::int64_t k, const char* left) noexcept;

  // Of layer_done. What goes wrong is kept and thrown by finish. The text of the report is up to date afterwards, marked as not complete:
  // an interrupted run leaves it so.
  void add(const billfish_quantize_layer& layer) noexcept;

  // Draws the pictures and writes everything for the last time. `stopped`: "" if all layers are done, else why not (the report says so).
  // Throws what went wrong before. Without gnuplot the report has no pictures and says what to install.
  // Returns a line for people: "written: DIR/report.md, 7 pictures".
  std::string finish(const std::string& stopped = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// `billfish quantize --demo [OUT] [--report DIR]`: a small model made on the spot, quantised by all three methods, checked against the
// oracle. out: where model, samples and checkpoints stay; "" for a folder that goes away. report: "" for quantize-demo-report. An Exit.
// quantize_demo.cpp
int quantize_demo(const std::string& out, const std::string& report, int threads, bool json);

}  // namespace billfish::cli
