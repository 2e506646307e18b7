// SPDX-License-Identifier: Apache-2.0
// What a quantising report keeps of a layer. Made by quantize_report_measure.cpp, drawn and told by the other quantize_report_*.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "billfish/billfish_quantize.h"
#include "quantize_report.hpp"

namespace billfish::cli {

// The first line of a report.md made here: such a file may be replaced.
inline constexpr const char* kReportMark = "<!-- made by billfish quantize --report -->";

// How weights lie: equal bins between low and high, each with its per cent of all weights that were looked at.
struct Spread {
  double low = 0, high = 0;
  std::vector<double> before, after;
};

// One input channel: its mean |x|, AWQ's scale (1 without), and the error of its weights relative to their norm, by plain rounding and now.
struct Channel {
  std::int64_t index = 0;
  double magnitude = 0, scale = 1, nearest_error = 0, error = 0;
};

// The same sample of a layer quantised in groups of another size. Errors as in billfish_quantized; -1: not known.
struct GroupTrial {
  std::int64_t group = 0;
  double bits = 0;  // a weight, scales and zeros included
  double weight_error = -1, output_error = -1, nearest_weight_error = -1, nearest_output_error = -1;
};

struct LayerNumbers {
  std::string name, kind, type, note;  // kind: "q_proj"
  std::int64_t n = 0, k = 0, group = 0, tokens = 0, groups = 0, clipped_groups = 0, dead_columns = 0, bytes_before = 0, bytes_after = 0;
  double weight_error = -1, output_error = -1, nearest_weight_error = -1, nearest_output_error = -1;
  double held_out_error = -1, held_out_cosine = -2, damping = 0, seconds = 0;
  Spread values;                 // weights
  Spread grid;                   // weights in codes, w / scale + zero: `before` in per cent a step, `after` has one entry a code
  double outside = 0;            // per cent of weights beyond the grid's ends by more than half a step
  std::vector<Channel> salient;  // largest mean |x| first
  std::vector<Channel> across;   // a sample of all channels by mean |x|, for the scatter of AWQ's scales
  std::vector<double> awq_losses;
  std::vector<GroupTrial> trials;
  std::string no_trials;  // why there are none although they were asked for

  // The one by which layers are compared: of outputs where there were samples, else of weights.
  double error() const { return output_error >= 0 ? output_error : weight_error; }
  double nearest_error() const { return output_error >= 0 ? nearest_output_error : nearest_weight_error; }
};

struct UntouchedLayer {
  std::string name, reason;
  std::int64_t n = 0, k = 0;
};

struct ReportData {
  std::string caption;  // of the pictures; "": what was quantised, and how
  QuantizeReportFacts facts;
  std::string stopped;                       // "" when whole
  std::int64_t bytes_in = 0, bytes_out = 0;  // of the whole checkpoints; 0: not known
  double seconds = 0;
  std::vector<LayerNumbers> layers;
  std::vector<UntouchedLayer> untouched;
  std::vector<std::string> unseen;  // layers of an interrupted run whose weights no report has seen: their errors are known, no more

  bool has_outputs() const;             // at least one layer has an output error
  const LayerNumbers* worst() const;    // of those whose weights were seen; null if there are none
  const LayerNumbers* typical() const;  // the median by error(); the worst only if it is alone
};

// quantize_report.cpp. Makes the folder; Failure(kUsage) if the report.md in it is not one of this program.
void begin_report_folder(const std::string& folder);

// quantize_report_measure.cpp. with_trials: also quantise a sample of it in groups of other sizes.
LayerNumbers numbers_of(const billfish_quantize_layer& layer, const billfish_quantize_options& options, bool with_trials);

// quantize_report_data.cpp
std::string kind_of(const std::string& layer);
std::string method_text(const billfish_quantize_options& options);  // "gptq, 4 bits, groups of 128"

// quantize_report_json.cpp
std::string report_json(const ReportData& data);
// The layers of an earlier report about the same output by the same method; none if `text` is something else.
std::vector<LayerNumbers> layers_of_json(const std::string& text, const QuantizeReportFacts& facts);

// quantize_report_text.cpp. pictures: names without suffix; no_pictures: why there are none.
std::string report_text(const ReportData& data, const std::vector<std::string>& pictures, const std::string& no_pictures);
std::string layers_csv(const ReportData& data);
std::string groups_csv(const ReportData& data);
std::string channels_csv(const ReportData& data);

// quantize_report_plots.cpp. Into `folder`; the names without suffix. A picture that gnuplot cannot draw is told of in `skipped`, a line
// each; otherwise throws as draw_with_gnuplot does.
std::vector<std::string> draw_report(const ReportData& data, const std::string& folder, std::vector<std::string>& skipped);

}  // namespace billfish::cli
