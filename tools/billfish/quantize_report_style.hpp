// SPDX-License-Identifier: Apache-2.0
// The look of a quantising report's pictures: pieces of gnuplot scripts that several of them share. What was before, and plain rounding, is
// grey; what the method made is blue.
#pragma once

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gnuplot.hpp"
#include "quantize_report_data.hpp"

namespace billfish::cli {

inline constexpr const char* kGrey = "#888888";
inline constexpr const char* kBlue = "#0072b2";
inline constexpr const char* kOrange = "#d55e00";
// Okabe and Ito's palette without its yellow, which is too light for lines.
inline constexpr const char* kLines[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#888888"};
inline constexpr int kPoints[] = {7, 5, 9, 11, 13, 4, 6, 8};
inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

double percent(double error);           // NaN for what is not known
std::string number_text(double value);  // as gnuplot reads it
std::string method_name(const ReportData& data);

// Title on the left of the first line, who it is about on the right.
std::string head(const ReportData& data, const std::string& title);
inline constexpr const char* kOnlyOnce = "unset label 98\nunset label 99\n";  // after the first panel

// Panels side by side or below each other; margins in pixels of a picture of that size.
struct Margins {
  double left = 95, right = 25, bottom = 68, top = 80, between_x = 95, between_y = 125;
};
std::string multiplot(int rows, int columns, PictureSize size, const Margins& margins);
std::string key_at_top(PictureSize size);

// quantize_report_panels.cpp: one value a layer. Each sets the size that it needs.
std::string errors_script(const ReportData& data, PictureSize& size);
std::string held_out_script(const ReportData& data, PictureSize& size);
std::string time_script(const ReportData& data, PictureSize& size);
// Of several runs over the same layers; `data` has them and the caption.
std::string methods_script(const ReportData& data, const std::vector<std::pair<std::string, const std::vector<LayerNumbers>*>>& methods,
                           PictureSize& size);

}  // namespace billfish::cli
