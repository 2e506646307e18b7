// SPDX-License-Identifier: Apache-2.0
#include "quantize_report_style.hpp"

#include <fmt/core.h>

#include <cmath>

namespace billfish::cli {

double percent(double error) { return error >= 0 ? 100 * error : kUnknown; }

std::string number_text(double value) { return std::isfinite(value) ? fmt::format("{:.6g}", value) : "NaN"; }

std::string head(const ReportData& data, const std::string& title) {
  std::string name = data.facts.in.substr(data.facts.in.find_last_of('/', data.facts.in.find_last_not_of('/')) + 1);
  if (name.size() > 26) name.replace(24, std::string::npos, "..");
  const std::string caption = !data.caption.empty() ? data.caption
                                                    : fmt::format("{}: {}{}", name, method_text(data.facts.options.matrix),
                                                                  data.stopped.empty() ? "" : ", NOT COMPLETE");
  return fmt::format(
      "set grid lc rgb '#dddddd' lw 0.8\nset border 3 lw 0.8\nset tics nomirror font ',<SMALL>'\nset key font ',<SMALL>'\n"
      "set style fill solid 0.95 noborder\nset label 98 {} at screen 0.012,0.999 offset 0,-0.9 left\n"
      "set label 99 {} at screen 0.99,0.999 offset 0,-0.9 right font ',<SMALL>' textcolor rgb '#555555'\n",
      gnuplot_text(title), gnuplot_text(caption));
}

std::string multiplot(int rows, int columns, PictureSize size, const Margins& margins) {
  return fmt::format("set multiplot layout {},{} margins screen {:.4f},{:.4f},{:.4f},{:.4f} spacing screen {:.4f},{:.4f}\n", rows, columns,
                     margins.left / size.width, 1 - margins.right / size.width, margins.bottom / size.height, 1 - margins.top / size.height,
                     margins.between_x / size.width, margins.between_y / size.height);
}
std::string key_at_top(PictureSize size) {
  return fmt::format("set key at screen 0.99,{:.4f} right top horizontal Left reverse samplen 1.5\n", 1 - 34.0 / size.height);
}

std::string method_name(const ReportData& data) {
  switch (data.facts.options.matrix.method) {
    case BILLFISH_QUANTIZE_GPTQ: return "GPTQ";
    case BILLFISH_QUANTIZE_AWQ: return "AWQ";
    case BILLFISH_QUANTIZE_RTN: break;
  }
  return data.facts.options.matrix.clip != 0 ? "rounding, clipped" : "this checkpoint";
}

}  // namespace billfish::cli
