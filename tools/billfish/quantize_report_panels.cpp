// SPDX-License-Identifier: Apache-2.0
// Pictures with one value a layer: by name where the layers are few, along the model where they are many.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "quantize_report_style.hpp"

namespace billfish::cli {
namespace {

constexpr std::size_t kNamedLayers = 32;  // more are drawn along the horizontal axis, without their names

struct Series {
  std::string name, colour;
  int point = 7;
  std::function<double(const LayerNumbers&)> value;
};
struct Panel {
  std::string axis;
  bool logarithmic = false, bars = false;
  std::vector<Series> series;
};

std::vector<std::string> short_names(const ReportData& data) {
  std::string common = data.layers.empty() ? "" : data.layers[0].name;
  for (const LayerNumbers& layer : data.layers) {
    const auto end = std::mismatch(common.begin(), common.end(), layer.name.begin(), layer.name.end()).first;
    common.erase(end, common.end());
  }
  const std::size_t dot = common.rfind('.'), skip = data.layers.size() < 2 || dot == std::string::npos ? 0 : dot + 1;
  std::vector<std::string> names;
  for (const LayerNumbers& layer : data.layers) {
    std::string name = layer.name.substr(skip);
    if (name.size() > 40) name = ".." + name.substr(name.size() - 38);
    names.push_back(name);
  }
  return names;
}

std::string range_text(const ReportData& data, const Panel& panel, const char* axis) {
  double low = 1e300, high = 0;
  for (const LayerNumbers& layer : data.layers) {
    for (const Series& series : panel.series) {
      const double value = series.value(layer);
      if (!std::isfinite(value)) continue;
      if (value > 0) low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (high <= 0) return fmt::format("unset logscale {0}\nset {0}range [0:1]\n", axis);
  if (!panel.logarithmic) return fmt::format("unset logscale {0}\nset {0}range [0:{1:g}]\nset format {0} '%g'\n", axis, high * 1.08);
  // At least from one power of ten to the next, or the axis has no numbers.
  const double bottom = std::pow(10, std::floor(std::log10(low))), top = std::pow(10, std::ceil(std::log10(high * 1.01)));
  return fmt::format("set logscale {0}\nset {0}range [{1:g}:{2:g}]\nset format {0} '%g'\n", axis, bottom, top);
}

std::string by_name(const ReportData& data, const std::string& title, const std::vector<Panel>& panels, PictureSize& size) {
  const auto names = short_names(data);
  const std::size_t count = data.layers.size();
  std::size_t longest = 0;
  for (const std::string& name : names) longest = std::max(longest, name.size());
  size = {1000, static_cast<int>(175 + 24 * count)};
  Margins margins;
  margins.left = 30 + 7.2 * static_cast<double>(longest);
  margins.between_x = 30;
  std::string script = head(data, title) + multiplot(1, static_cast<int>(panels.size()), size, margins);
  script += panels[0].series.size() > 1 ? key_at_top(size) : "unset key\n";
  script += fmt::format("set yrange [{}:-0.6]\nset grid noytics\n", static_cast<double>(count) - 0.4);
  std::string tics, blank;
  for (std::size_t i = 0; i < count; ++i) {
    tics += fmt::format("{}{} {}", i == 0 ? "" : ", ", gnuplot_text(names[i]), i);
    blank += fmt::format("{}'' {}", i == 0 ? "" : ", ", i);
  }
  for (std::size_t p = 0; p < panels.size(); ++p) {
    const Panel& panel = panels[p];
    script += fmt::format("set ytics ({}) scale 0\nset xlabel {}\n", p == 0 ? tics : blank, gnuplot_text(panel.axis)) +
              range_text(data, panel, "x");
    std::string lines, points;
    for (std::size_t s = 0; s < panel.series.size(); ++s) {
      const Series& series = panel.series[s];
      script += fmt::format("$p{}s{} << EOD\n", p, s);
      for (std::size_t i = 0; i < count; ++i) {
        const double value = series.value(data.layers[i]);
        const double other = s > 0 ? panel.series[0].value(data.layers[i]) : value;
        script += fmt::format("{} {} {}\n", i, number_text(value), number_text(other));
      }
      script += "EOD\n";
      const std::string place = fmt::format("$p{}s{}", p, s), name = gnuplot_text(series.name);
      if (panel.bars) {
        points += fmt::format("{}{} using (0):1:(0):2:($1-0.32):($1+0.32) with boxxyerror lc rgb '{}' title {}", points.empty() ? "" : ", ",
                              place, series.colour, name);
        continue;
      }
      // A thin line from the first series to this one: how far the method came.
      if (s > 0) lines += fmt::format("{} using 3:1:($2-$3):(0) with vectors nohead lc rgb '#bbbbbb' lw 2 notitle, ", place);
      points += fmt::format("{}{} using 2:1 with points pt {} ps 1.1 lc rgb '{}' title {}", points.empty() ? "" : ", ", place, series.point,
                            series.colour, name);
    }
    script += "plot " + lines + points + "\n" + kOnlyOnce + "unset key\n";
  }
  return script + "unset multiplot\n";
}

// Tics where a block of the model begins: the first number in a layer's name.
std::string block_tics(const ReportData& data) {
  std::vector<std::pair<std::size_t, std::string>> begins;
  std::string before;
  for (std::size_t i = 0; i < data.layers.size(); ++i) {
    const std::string& name = data.layers[i].name;
    const std::size_t begin = name.find_first_of("0123456789");
    const std::string block = begin == std::string::npos ? "" : name.substr(begin, name.find_first_not_of("0123456789", begin) - begin);
    if (!block.empty() && block != before) begins.emplace_back(i, block);
    before = block;
  }
  std::string tics;
  const std::size_t step = begins.size() / 24 + 1;
  for (std::size_t i = 0; i < begins.size(); i += step) {
    tics += fmt::format("{}{} {}", tics.empty() ? "" : ", ", gnuplot_text(begins[i].second), begins[i].first);
  }
  return tics;
}

std::string by_order(const ReportData& data, const std::string& title, const std::vector<Panel>& panels, PictureSize& size) {
  size = {1000, static_cast<int>(150 + 270 * panels.size())};
  Margins margins;
  margins.between_y = 50;
  const std::string tics = block_tics(data);
  std::string script = head(data, title) + multiplot(static_cast<int>(panels.size()), 1, size, margins);
  script += panels[0].series.size() > 1 ? key_at_top(size) : "unset key\n";
  script += fmt::format("set xrange [-1:{}]\nset grid noxtics\n", data.layers.size());
  if (!tics.empty()) script += fmt::format("set xtics ({})\n", tics);
  for (std::size_t p = 0; p < panels.size(); ++p) {
    const Panel& panel = panels[p];
    if (p + 1 == panels.size())
      script += fmt::format("set xlabel '{}'\n", tics.empty() ? "layer, in the order of the model" : "block of the model");
    script += fmt::format("set ylabel {}\n", gnuplot_text(panel.axis)) + range_text(data, panel, "y");
    std::string plot;
    for (std::size_t s = 0; s < panel.series.size(); ++s) {
      const Series& series = panel.series[s];
      script += fmt::format("$p{}s{} << EOD\n", p, s);
      for (std::size_t i = 0; i < data.layers.size(); ++i) script += fmt::format("{} {}\n", i, number_text(series.value(data.layers[i])));
      script += "EOD\n";
      plot += fmt::format("{}$p{}s{} using 1:2 with points pt {} ps 0.55 lc rgb '{}' title {}", plot.empty() ? "plot " : ", ", p, s,
                          series.point, series.colour, gnuplot_text(series.name));
    }
    script += plot + "\n" + kOnlyOnce + "unset key\n";
  }
  return script + "unset multiplot\n";
}

std::string per_layer(const ReportData& data, const std::string& title, const std::vector<Panel>& panels, PictureSize& size) {
  return data.layers.size() <= kNamedLayers ? by_name(data, title, panels, size) : by_order(data, title, panels, size);
}

}  // namespace

std::string errors_script(const ReportData& data, PictureSize& size) {
  const std::string method = method_name(data);
  std::vector<Panel> panels = {
      {"error of weights (% of their norm)",
       false,
       false,
       {{"round to nearest", kGrey, 6, [](const LayerNumbers& layer) { return percent(layer.nearest_weight_error); }},
        {method, kBlue, 7, [](const LayerNumbers& layer) { return percent(layer.weight_error); }}}}};
  if (data.has_outputs()) {
    panels.push_back({"error of outputs (% of their norm)",
                      false,
                      false,
                      {{"round to nearest", kGrey, 6, [](const LayerNumbers& layer) { return percent(layer.nearest_output_error); }},
                       {method, kBlue, 7, [](const LayerNumbers& layer) { return percent(layer.output_error); }}}});
  }
  return per_layer(data, "Error of every layer (smaller is better)", panels, size);
}

std::string held_out_script(const ReportData& data, PictureSize& size) {
  const std::vector<Panel> panels = {
      {"error of outputs (% of their norm)",
       false,
       false,
       {{"calibration samples", kGrey, 6, [](const LayerNumbers& layer) { return percent(layer.output_error); }},
        {"samples kept aside", kBlue, 7, [](const LayerNumbers& layer) { return percent(layer.held_out_error); }}}},
      {"1 - cosine of outputs", true, false, {{"samples kept aside", kBlue, 7, [](const LayerNumbers& layer) {
                                                 return layer.held_out_cosine >= -1 ? std::max(1 - layer.held_out_cosine, 1e-9) : kUnknown;
                                               }}}}};
  return per_layer(data, "Outputs on samples kept aside", panels, size);
}

std::string time_script(const ReportData& data, PictureSize& size) {
  double longest = 0;
  for (const LayerNumbers& layer : data.layers) longest = std::max(longest, layer.seconds);
  const double scale = longest < 1 ? 1000 : 1;
  const std::vector<Panel> panels = {{scale == 1 ? "seconds a layer" : "milliseconds a layer",
                                      false,
                                      true,
                                      {{"time", kBlue, 7, [scale](const LayerNumbers& layer) { return scale * layer.seconds; }}}}};
  return per_layer(data, "Time of every layer", panels, size);
}

std::string methods_script(const ReportData& data, const std::vector<std::pair<std::string, const std::vector<LayerNumbers>*>>& methods,
                           PictureSize& size) {
  static constexpr const char* kMethodColours[] = {kGrey, kBlue, kOrange};
  static constexpr int kMethodPoints[] = {6, 7, 5};
  std::vector<Panel> panels = {{"error of outputs (% of their norm)", false, false, {}},
                               {"the same on samples kept aside (%)", false, false, {}}};
  for (std::size_t m = 0; m < methods.size(); ++m) {
    for (const bool kept : {false, true}) {
      const auto value = [layers = methods[m].second, kept](const LayerNumbers& layer) {
        const auto found = std::find_if(layers->begin(), layers->end(), [&](const LayerNumbers& one) { return one.name == layer.name; });
        return found == layers->end() ? kUnknown : percent(kept ? found->held_out_error : found->output_error);
      };
      panels[kept ? 1 : 0].series.push_back({methods[m].first, kMethodColours[m % 3], kMethodPoints[m % 3], value});
    }
  }
  return per_layer(data, "Three methods, layer by layer (smaller is better)", panels, size);
}

}  // namespace billfish::cli
