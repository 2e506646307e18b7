// SPDX-License-Identifier: Apache-2.0
// The pictures of a quantising report as gnuplot scripts: a typical and the worst layer from near by, lines over some of them, memory.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "errors.hpp"
#include "quantize_report_style.hpp"

namespace billfish::cli {
namespace {

struct Exhibit {
  std::string title;
  const LayerNumbers* layer;
};
std::vector<Exhibit> exhibits(const ReportData& data) {
  std::vector<Exhibit> list;
  const LayerNumbers *typical = data.typical(), *worst = data.worst();
  if (typical != nullptr && typical != worst) list.push_back({"typical layer: " + typical->name, typical});
  if (worst != nullptr) list.push_back({data.layers.size() > 1 ? "worst layer: " + worst->name : worst->name, worst});
  return list;
}

std::string panel_title(const std::string& words) {
  return fmt::format("set title {} font ',<SMALL>' offset 0,-0.3\n", gnuplot_text(words));
}

std::string distribution(const ReportData& data, PictureSize& size) {
  const auto list = exhibits(data);
  size = {1000, static_cast<int>(130 + 320 * list.size())};
  std::string script = head(data, "Weights before and after") + multiplot(static_cast<int>(list.size()), 2, size, {});
  for (std::size_t e = 0; e < list.size(); ++e) {
    const LayerNumbers& layer = *list[e].layer;
    const Spread &values = layer.values, &grid = layer.grid;
    const double width = (values.high - values.low) / static_cast<double>(values.before.size());
    script += fmt::format("$v{} << EOD\n", e);
    double least = 100;
    for (std::size_t i = 0; i < values.before.size(); ++i) {
      const auto drawn = [](double share) { return share > 0 ? fmt::format("{:.6g}", share) : "NaN"; };
      script += fmt::format("{:.6g} {} {}\n", values.low + width * (static_cast<double>(i) + 0.5), drawn(values.before[i]),
                            drawn(values.after[i]));
      for (const double share : {values.before[i], values.after[i]}) {
        if (share > 0) least = std::min(least, share);
      }
    }
    const double floor = std::pow(10, std::floor(std::log10(least)));
    script += fmt::format(
        "EOD\nset key at graph 1,1.0 right top Left reverse samplen 1.5 width -2\nset logscale y\nset format y '%g'\nset yrange "
        "[{:g}:1000]\nset xrange [{:g}:{:g}]\nset xtics auto\nset xlabel 'weight'\nset ylabel '% of weights a bin' offset 1.2,0\n",
        floor, values.low, values.high);
    script += panel_title(list[e].title);
    script += fmt::format(
        "plot $v{0} using 1:2:(0.92*{2:g}) with boxes lc rgb '#cccccc' title 'before', $v{0} using 1:3 with points pt 7 ps 0.45 lc "
        "rgb "
        "'{3}' title 'after'\n{4}",
        e, floor, width, kBlue, kOnlyOnce);
    const std::size_t levels = grid.after.size();
    if (levels == 0) {  // nothing is known of its grid
      script += "set multiplot next\n";
      continue;
    }
    const double step = (grid.high - grid.low) / static_cast<double>(grid.before.size());
    double most = 0;
    script += fmt::format("$g{} << EOD\n", e);
    for (std::size_t i = 0; i < grid.before.size(); ++i) {
      script += fmt::format("{:.6g} {:.6g}\n", grid.low + step * (static_cast<double>(i) + 0.5), grid.before[i]);
      most = std::max(most, grid.before[i]);
    }
    script += fmt::format("EOD\n$c{} << EOD\n", e);
    for (std::size_t i = 0; i < levels; ++i) {
      script += fmt::format("{} {:.6g}\n", i, grid.after[i]);
      most = std::max(most, grid.after[i]);
    }
    script += fmt::format(
        "EOD\nunset logscale y\nset yrange [0:{:g}]\nset xrange [{:g}:{:g}]\nset xtics {}\nset xlabel 'code (weight / scale + "
        "zero)'\nset ylabel '% of weights a step' offset 0,0\n",
        most * 1.25, grid.low, grid.high, levels == 16 ? "0,1,15" : "0,32,256");
    script += panel_title(layer.outside >= 0.0005 ? fmt::format("on the grid of its groups; {:.2g} % lie beyond it", layer.outside)
                                                  : "on the grid of its groups");
    script += fmt::format(
        "plot $c{0} using 1:2:(0.8) with boxes lc rgb '{1}' title 'codes, after', $g{0} using 1:2 with lines lw 2 lc rgb '{2}' "
        "title 'before rounding'\n",
        e, kBlue, kOrange);
  }
  return script + "unset multiplot\n";
}

std::string channels(const ReportData& data, PictureSize& size) {
  const auto list = exhibits(data);
  size = {1000, static_cast<int>(130 + 320 * list.size())};
  const bool awq = data.facts.options.matrix.method == BILLFISH_QUANTIZE_AWQ;
  std::string script = head(data, "Salient channels: inputs with large activations");
  script += multiplot(static_cast<int>(list.size()), 2, size, {});
  for (std::size_t e = 0; e < list.size(); ++e) {
    const LayerNumbers& layer = *list[e].layer;
    script += fmt::format("$a{} << EOD\n", e);
    double low = 1e300, high = 0;
    for (std::size_t i = 0; i < layer.across.size(); ++i) {
      const Channel& channel = layer.across[i];
      const double share = 100.0 * static_cast<double>(i) / static_cast<double>(layer.across.size());
      script += fmt::format("{:.6g} {} {:.6g}\n", share, channel.magnitude > 0 ? number_text(channel.magnitude) : "NaN", channel.scale);
      if (channel.magnitude > 0) low = std::min(low, channel.magnitude);
      high = std::max(high, channel.magnitude);
    }
    script += "EOD\n" + panel_title(list[e].title);
    const double bottom = high > 0 ? std::pow(10, std::floor(std::log10(low))) : 0.1;
    const double top = high > 0 ? std::pow(10, std::ceil(std::log10(high * 1.01))) : 1;
    if (awq) {
      script += fmt::format(
          "unset key\nset logscale xy\nset format xy '%g'\nset xtics auto\nset xrange [{:g}:{:g}]\nset autoscale y\nset xlabel 'mean |x| "
          "of the "
          "channel'\nset ylabel 'scale given by AWQ'\nplot $a{} using 2:3 with points pt 7 ps 0.5 lc rgb '{}' notitle\n",
          bottom, top, e, kBlue);
    } else {
      script += fmt::format(
          "unset key\nunset logscale x\nset logscale y\nset format y '%g'\nset xtics auto\nset xrange [0:100]\nset yrange [{:g}:{:g}]\nset "
          "xlabel "
          "'channels, largest first (%)'\nset ylabel 'mean |x|'\nplot $a{} using 1:2 with lines lw 2.5 lc rgb '{}' notitle\n",
          bottom, top, e, kBlue);
    }
    script += kOnlyOnce;
    script += fmt::format("$s{} << EOD\n", e);
    double most = 0;
    for (const Channel& channel : layer.salient) {
      script += fmt::format("{} {:.6g} {:.6g}\n", channel.index, 100 * channel.nearest_error, 100 * channel.error);
      most = std::max({most, 100 * channel.nearest_error, 100 * channel.error});
    }
    script += fmt::format(
        "EOD\nunset logscale xy\nset xrange [-0.7:{}]\nset yrange [0:{:g}]\nset xtics rotate by -50 scale 0\nset xlabel 'channel, largest "
        "mean |x| "
        "first' offset 0,0.4\nset ylabel 'error of its weights (%)'\n"
        "set key at graph 1,1.0 right top horizontal Left reverse samplen 1\n",
        static_cast<double>(std::max<std::size_t>(layer.salient.size(), 1)) - 0.3, most > 0 ? most * 1.3 : 1.0);
    script += panel_title("what became of the largest");
    if (layer.salient.empty()) {
      script += "set multiplot next\n";
    } else {
      script += fmt::format(
          "plot $s{0} using ($0-0.19):2:(0.36):xtic(1) with boxes lc rgb '#bbbbbb' title 'round to nearest', $s{0} using "
          "($0+0.19):3:(0.36) with "
          "boxes lc rgb '{1}' title {2}\n",
          e, kBlue, gnuplot_text(method_name(data)));
    }
    script += "set xtics norotate scale 1\n";
  }
  return script + "unset multiplot\n";
}

// -------------------------------------------------------------------------------------------- a line for some of the layers

std::vector<const LayerNumbers*> some_layers(const ReportData& data, const std::function<bool(const LayerNumbers&)>& fit) {
  std::vector<const LayerNumbers*> list;
  for (const LayerNumbers& layer : data.layers) {
    const bool known = std::any_of(list.begin(), list.end(), [&](const LayerNumbers* other) { return other->kind == layer.kind; });
    if (!known && fit(layer) && list.size() < std::size(kLines)) list.push_back(&layer);
  }
  return list;
}

std::string line_style(std::size_t index) {
  return fmt::format("lc rgb '{}' lw 2.2 pt {} ps 0.9", kLines[index % std::size(kLines)], kPoints[index % std::size(kPoints)]);
}

std::string awq_search(const ReportData& data, PictureSize& size) {
  size = {1000, 520};
  const auto list = some_layers(data, [](const LayerNumbers& layer) { return layer.awq_losses.size() == BILLFISH_AWQ_RATIOS; });
  std::string script = head(data, "AWQ's search for a ratio (dashed: without scales)");
  script +=
      "set tmargin 3.2\nset bmargin 4\nset key outside right top Left reverse samplen 2\nset xlabel 'ratio r: 0 follows the weights, 1 the "
      "activations'\nset ylabel 'error of outputs (%)'\nset xrange [-0.03:1.03]\n";
  std::string plot;
  double low = 1e300, high = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto& losses = list[i]->awq_losses;
    script += fmt::format("$l{} << EOD\n", i);
    for (std::size_t r = 1; r < losses.size(); ++r) {
      script += fmt::format("{:.4f} {:.6g}\n", static_cast<double>(r - 1) / 20.0, 100 * losses[r]);
    }
    script += "EOD\n";
    for (const double loss : losses) {
      if (loss > 0) low = std::min(low, 100 * loss);
      high = std::max(high, 100 * loss);
    }
    plot += fmt::format("{}$l{} using 1:2 with linespoints {} title {}, {:.6g} with lines dt 2 lc rgb '{}' lw 1.4 notitle",
                        plot.empty() ? "plot " : ", ", i, line_style(i), gnuplot_text(list[i]->kind), 100 * losses[0],
                        kLines[i % std::size(kLines)]);
  }
  script += high > 6 * low ? fmt::format("set logscale y\nset yrange [{:g}:{:g}]\n", low / 1.3, high * 1.3)
                           : fmt::format("set yrange [0:{:g}]\n", high * 1.08);
  return script + plot + "\n";
}

std::string groups(const ReportData& data, PictureSize& size) {
  size = {1000, 520};
  const auto list = some_layers(data, [](const LayerNumbers& layer) { return layer.trials.size() > 1; });
  const bool outputs = std::all_of(list.begin(), list.end(), [](const LayerNumbers* layer) { return layer->trials[0].output_error >= 0; });
  std::string plot, tics, script = head(data, "Error against group size, on a sample of every kind of layer");
  script += fmt::format(
      "set tmargin 3.2\nset bmargin 5.2\nset key outside right top Left reverse samplen 2\nset logscale x 2\nset ylabel 'error of {} (%)'\n"
      "set xlabel 'codes that share a scale, and bits a weight in memory' offset 0,-0.7\n",
      outputs ? "outputs" : "weights");
  double most = 0;
  std::int64_t low = 1 << 30, high = 0;
  bool compared = false;  // with something else than itself
  for (std::size_t i = 0; i < list.size(); ++i) {
    script += fmt::format("$g{} << EOD\n", i);
    for (const GroupTrial& trial : list[i]->trials) {
      const double now = 100 * (outputs ? trial.output_error : trial.weight_error);
      const double nearest = percent(outputs ? trial.nearest_output_error : trial.nearest_weight_error);
      script += fmt::format("{} {:.6g} {}\n", trial.group, now, number_text(nearest));
      most = std::max({most, now, std::isfinite(nearest) ? nearest : 0});
      compared = compared || (std::isfinite(nearest) && nearest != now);
      if (trial.group > high)
        tics += fmt::format("{}\"{}\\n{:.3g} bits\" {}", tics.empty() ? "" : ", ", trial.group, trial.bits, trial.group);
      low = std::min(low, trial.group);
      high = std::max(high, trial.group);
    }
    script += "EOD\n";
    plot += fmt::format("{0}$g{1} using 1:2 with linespoints {2} title {3}, $g{1} using 1:3 with lines dt 2 lw 1.4 lc rgb '{4}' notitle",
                        plot.empty() ? "plot " : ", ", i, line_style(i), gnuplot_text(list[i]->kind), kLines[i % std::size(kLines)]);
  }
  if (compared) plot += ", NaN with lines dt 2 lw 1.4 lc rgb '#555555' title 'round to nearest'";
  const std::int64_t chosen = data.facts.options.matrix.group;
  if (chosen >= low && chosen <= high) {
    script += fmt::format(
        "set arrow 1 from {0},graph 0 to {0},graph 1 nohead dt 3 lw 2 lc rgb '#555555' back\nset label 1 'this checkpoint' at {0},graph "
        "0.04 offset 0.6,0 font ',<SMALL>' textcolor rgb '#555555'\n",
        chosen);
  }
  script += fmt::format("set xtics ({})\nset xrange [{:g}:{:g}]\nset yrange [0:{:g}]\n", tics, static_cast<double>(low) / 1.2,
                        static_cast<double>(high) * 1.2, most * 1.08);
  return script + plot + "\n";
}

std::string memory(const ReportData& data, PictureSize& size) {
  struct Bar {
    std::string name;
    double before = 0, after = 0;
  };
  std::vector<Bar> bars;
  for (const LayerNumbers& layer : data.layers) {
    auto bar = std::find_if(bars.begin(), bars.end(), [&](const Bar& one) { return one.name == layer.kind; });
    if (bar == bars.end()) bar = bars.insert(bars.end(), {layer.kind, 0, 0});
    bar->before += static_cast<double>(layer.bytes_before);
    bar->after += static_cast<double>(layer.bytes_after);
  }
  std::stable_sort(bars.begin(), bars.end(), [](const Bar& a, const Bar& b) { return a.before > b.before; });
  while (bars.size() > 12) {  // the small ones together
    bars[11].name = "others";
    bars[11].before += bars.back().before;
    bars[11].after += bars.back().after;
    bars.pop_back();
  }
  if (data.bytes_in > 0 && data.bytes_out > 0) {
    bars.insert(bars.begin(), {"whole checkpoint", static_cast<double>(data.bytes_in), static_cast<double>(data.bytes_out)});
  }
  double most = 1;
  for (const Bar& bar : bars) most = std::max({most, bar.before, bar.after});
  const double unit = most >= 1e9 ? 1e9 : most >= 1e6 ? 1e6 : 1e3;
  size = {1000, static_cast<int>(160 + 44 * bars.size())};
  std::string script = head(data, "Memory before and after, by kind of layer") + key_at_top(size) + "$m << EOD\n", tics;
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const Bar& bar = bars[i];
    script += fmt::format("{} {:.6g} {:.6g} \"{:.1f} times less\"\n", i, bar.before / unit, bar.after / unit,
                          bar.after > 0 ? bar.before / bar.after : 0);
    tics += fmt::format("{}{} {}", i == 0 ? "" : ", ", gnuplot_text(bar.name), i);
  }
  std::size_t longest = 0;
  for (const Bar& bar : bars) longest = std::max(longest, bar.name.size());
  script += fmt::format(
      "EOD\nset lmargin at screen {:.4f}\nset tmargin at screen {:.4f}\nset bmargin at screen {:.4f}\nset grid noytics\nset ytics ({}) "
      "scale 0\nset "
      "yrange [{}:-0.6]\nset xrange [0:{:g}]\nset xlabel '{}'\n",
      (30 + 7.6 * static_cast<double>(longest)) / size.width, 1 - 65.0 / size.height, 80.0 / size.height, tics,
      static_cast<double>(bars.size()) - 0.4, most / unit * 1.12,
      unit == 1e9   ? "GB"
      : unit == 1e6 ? "MB"
                    : "kB");
  return script +
         fmt::format(
             "plot $m using (0):1:(0):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '{}' title 'before', $m using "
             "(0):1:(0):3:($1+0.02):($1+0.36) "
             "with boxxyerror lc rgb '{}' title 'after', $m using 3:($1+0.2):4 with labels left offset 0.6,0 font ',<SMALL>' notitle\n",
             "#bbbbbb", kBlue);
}

}  // namespace

std::vector<std::string> draw_report(const ReportData& data, const std::string& folder, std::vector<std::string>& skipped) {
  std::vector<std::string> names;
  const auto draw = [&](const char* name, std::string (*script)(const ReportData&, PictureSize&)) {
    PictureSize size;
    const std::string text = script(data, size);
    try {
      draw_with_gnuplot(text, folder, name, size);
      names.emplace_back(name);
    } catch (const Failure& failure) {
      if (failure.code() != kDefect) throw;
      skipped.push_back(fmt::format("the picture {} could not be drawn: {}", name, failure.what()));
    }
  };
  const auto any = [&](auto&& fit) { return std::any_of(data.layers.begin(), data.layers.end(), fit); };
  if (data.layers.empty()) return names;
  if (any([](const LayerNumbers& layer) { return layer.weight_error >= 0; })) draw("errors", errors_script);
  if (any([](const LayerNumbers& layer) { return layer.held_out_error >= 0; })) draw("held_out", held_out_script);
  if (data.worst() != nullptr) draw("distribution", distribution);
  if (const LayerNumbers* worst = data.worst(); worst != nullptr && !worst->salient.empty()) draw("channels", channels);
  if (any([](const LayerNumbers& layer) { return layer.awq_losses.size() == BILLFISH_AWQ_RATIOS; })) draw("awq_search", awq_search);
  if (any([](const LayerNumbers& layer) { return layer.trials.size() > 1; })) draw("groups", groups);
  if (any([](const LayerNumbers& layer) { return layer.bytes_before > 0; })) draw("memory", memory);
  if (any([](const LayerNumbers& layer) { return layer.seconds > 0; })) draw("time", time_script);
  return names;
}

}  // namespace billfish::cli
