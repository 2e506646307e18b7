// SPDX-License-Identifier: Apache-2.0
// `billfish plot`: pictures of a benchmark run, drawn by gnuplot from generated scripts: throughput_scaling, latency_comparison,
// speedup_heatmap, roofline. Needs no GPU.
#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "bench_results.hpp"
#include "bench_summary.hpp"
#include "commands.hpp"
#include "errors.hpp"
#include "gnuplot.hpp"
#include "svg.hpp"

namespace billfish::cli {
namespace {

constexpr double kMostMicroseconds = 1e12;  // twelve days: a damaged file
constexpr std::size_t kMostContenders = 8;  // as many as there are colours
// Okabe and Ito's again, for lines on white: yellow, which is faint there, comes last; grey is the baseline's.
constexpr const char* kLines[] = {"#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#f0e442"};

struct Words {
  std::string results, out, act;
};

using Layer = std::pair<std::int64_t, std::int64_t>;  // k, n

// The rows that a picture is made of: one weight and activation type (the first of the run), right results only, named.
struct Data {
  BenchResults run;
  std::string act, type, caption, unit;
  std::int64_t group = 0;
  double scale = 1;                     // GFLOP/s -> unit
  std::vector<std::string> contenders;  // in order of appearance, the baseline first
  std::vector<std::pair<std::string, const BenchRow*>> rows;
  std::vector<std::int64_t> ms;
  std::set<std::string> left_out;  // more than there are colours
  std::size_t layers = 0;          // of the run
  std::set<Layer> common;          // those of them that every bar has: means are over these
};

bool is_baseline(const std::string& name, const Data& data) {
  return std::any_of(data.rows.begin(), data.rows.end(),
                     [&](const auto& one) { return one.first == name && one.second->kind == "baseline"; });
}

void find_common_layers(Data& data) {
  std::set<Layer> all;
  std::map<std::pair<std::string, std::int64_t>, std::set<Layer>> bars;  // by contender and M
  for (const auto& [name, row] : data.rows) {
    all.emplace(row->k, row->n);
    bars[{name, row->m}].emplace(row->k, row->n);
  }
  data.layers = all.size();
  data.common = all;
  for (const auto& bar : bars) {
    std::erase_if(data.common, [&](const Layer& layer) { return !bar.second.contains(layer); });
  }
}

// For titles: means of different layers say nothing beside each other, so only those that all bars have are in them.
std::string layers_text(const Data& data) {
  const std::size_t count = data.common.size();
  if (count == 1 && data.layers == 1) return fmt::format("layer {} x {}", data.common.begin()->first, data.common.begin()->second);
  if (count == data.layers) return fmt::format("geometric mean over {} layers", count);
  return fmt::format("geometric mean over the {} of {} layers that all have", count, data.layers);
}

Data data_of(const Words& words) {
  Data data;
  data.run = read_results(words.results);
  data.act = words.act;
  for (const BenchRow& row : data.run.rows) {
    if (row.kind != "gemm" || !data.type.empty() || (!words.act.empty() && row.act != words.act)) continue;
    data.act = row.act;
    data.type = row.type;
    data.group = row.group;
  }
  std::set<std::int64_t> ms;
  double fastest = 0;
  for (const char* kind : {"baseline", "gemm"}) {
    for (const BenchRow& row : data.run.rows) {
      const bool fits = row.act == data.act || (row.kind == "baseline" && row.act == "f32");
      if (row.kind == "gemm" && (row.type != data.type || row.group != data.group || row.act_order)) continue;
      const bool timed = row.us.median > 1e-6 && row.us.median < kMostMicroseconds && row.gflops() > 0;
      if (row.kind != kind || !fits || !row.correct || !timed || row.m < 1) continue;
      const std::string name = contender_of(row);
      if (std::find(data.contenders.begin(), data.contenders.end(), name) == data.contenders.end()) {
        if (data.contenders.size() == kMostContenders) {
          data.left_out.insert(name);
          continue;
        }
        data.contenders.push_back(name);
      }
      data.rows.emplace_back(name, &row);
      ms.insert(row.m);
      fastest = std::max(fastest, row.gflops());
    }
  }
  data.ms.assign(ms.begin(), ms.end());
  if (std::none_of(data.rows.begin(), data.rows.end(), [](const auto& one) { return one.second->kind == "gemm"; })) {
    fail(kBadInput, "{}: no timed products{} to draw", data.run.path, words.act.empty() ? "" : " of " + words.act + " activations");
  }
  find_common_layers(data);
  data.unit = fastest >= 3000 ? "TFLOP/s" : "GFLOP/s";
  data.scale = fastest >= 3000 ? 1e-3 : 1;
  data.caption = fmt::format("{}, {}, {}{}, {} activations", data.run.device, data.run.when.substr(0, 10), data.type,
                             data.group > 0 ? fmt::format(" group {}", data.group) : " one scale a column", data.act);
  if (!data.run.complete) data.caption += ", NOT COMPLETE";
  if (!data.run.valid) data.caption += ", NOT VALID";
  return data;
}

double mean_of(const std::vector<double>& values) {  // geometric
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return std::exp(sum / static_cast<double>(values.size()));
}

// contender -> M -> geometric mean over the layers that all have
using Means = std::map<std::string, std::map<std::int64_t, double>>;
template <class Value>
Means means_of(const Data& data, Value value) {
  std::map<std::string, std::map<std::int64_t, std::vector<double>>> lists;
  for (const auto& [name, row] : data.rows) {
    if (data.common.contains({row->k, row->n})) lists[name][row->m].push_back(value(*row));
  }
  Means means;
  for (const auto& [name, by_m] : lists) {
    for (const auto& [m, values] : by_m) means[name][m] = mean_of(values);
  }
  return means;
}

std::string head(const std::string& title, const Data& data) {
  return fmt::format(
      "set title {}\nset label 99 {} at screen 0.99,0.022 right font ',<SMALL>' textcolor rgb '#555555'\nset bmargin 5.5\n"
      "set grid lc rgb '#cccccc' lw 0.8\nset border lw 0.8\n",
      gnuplot_text(title), gnuplot_text(data.caption));
}

std::string style(std::size_t index, double size = 1.1) {
  static constexpr int kPoints[] = {7, 5, 9, 11, 13, 4, 6, 8};
  return fmt::format("lc rgb '{}' lw 2.5 pt {} ps {}", index == 0 ? "#555555" : kLines[(index - 1) % std::size(kLines)], kPoints[index % 8],
                     size);
}

// Bars and points: a contender keeps its colour in every picture; the baseline, which is first, is grey.
std::string colour(std::size_t index) { return index == 0 ? "#888888" : kLines[(index - 1) % std::size(kLines)]; }

std::string m_axis(const Data& data) {
  std::string tics;
  for (const std::int64_t m : data.ms) tics += (tics.empty() ? "" : ", ") + std::to_string(m);
  return fmt::format("set xlabel 'M (rows of activations)'\nset logscale x 2\nset xtics ({})\nset xrange [{}:{}]\n", tics,
                     static_cast<double>(data.ms.front()) / 1.25, static_cast<double>(data.ms.back()) * 1.25);
}

// Few series are named inside the picture, many beside it.
bool names_inside(const Data& data) { return data.contenders.size() <= 5; }

std::string throughput(const Data& data) {
  const Means means = means_of(data, [&](const BenchRow& row) { return row.gflops() * data.scale; });
  std::string script = head(fmt::format("Throughput by batch size ({})", layers_text(data)), data) + m_axis(data);
  double least = 1e300, most = 0;
  for (const auto& [name, by_m] : means) {
    for (const auto& [m, value] : by_m) least = std::min(least, value), most = std::max(most, value);
  }
  // Room above the lines for the names.
  script += fmt::format("set ylabel '{}'\nset logscale y\n<KEY>\nset mytics 10\nset yrange [{:g}:{:g}]\n", data.unit, least / 1.5,
                        most * (names_inside(data) ? 8 : 1.5));
  std::string plot;
  for (std::size_t i = 0; i < data.contenders.size(); ++i) {
    const std::string& name = data.contenders[i];
    script += fmt::format("$d{} << EOD\n", i);
    for (const auto& [m, value] : means.at(name)) script += fmt::format("{} {:.6g}\n", m, value);
    script += "EOD\n";
    plot += fmt::format("{}$d{} using 1:2 with linespoints {} title {}", plot.empty() ? "plot " : ", ", i, style(i), gnuplot_text(name));
  }
  return script + plot + "\n";
}

std::string latency(const Data& data) {
  const Means means = means_of(data, [](const BenchRow& row) { return row.us.median; });
  std::string script = head(fmt::format("Latency by batch size ({}; lower is better)", layers_text(data)), data);
  script +=
      "set style data histograms\nset style histogram clustered gap 1\nset style fill solid 0.95 border rgb 'white'\nset logscale y\n"
      "set ylabel 'microseconds'\nset xlabel 'M (rows of activations)'\n<KEY>\nset xtics nomirror scale 0\nset "
      "grid noxtics\n"
      "$d << EOD\n";
  double least = 1e300, most = 0;
  for (const std::int64_t m : data.ms) {
    script += std::to_string(m);
    for (const std::string& name : data.contenders) {
      const auto& by_m = means.at(name);
      const auto found = by_m.find(m);
      script += found == by_m.end() ? " NaN" : fmt::format(" {:.6g}", found->second);
      if (found == by_m.end()) continue;
      least = std::min(least, found->second);
      most = std::max(most, found->second);
    }
    script += "\n";
  }
  // Bars of a logarithmic axis begin somewhere: at the power of ten below the shortest.
  script += fmt::format("EOD\nset yrange [{:g}:{:g}]\n", std::pow(10.0, std::floor(std::log10(least * 0.8))), most * 4);
  std::string plot;
  for (std::size_t i = 0; i < data.contenders.size(); ++i) {
    plot += fmt::format("{}$d using {}:xtic(1) lc rgb '{}' title {}", plot.empty() ? "plot " : ", ", i + 2, colour(i),
                        gnuplot_text(data.contenders[i]));
  }
  return script + plot + "\n";
}

// The contender whose speed-ups are drawn: the fastest on average, of those that do not round activations where there are any.
std::string hero_of(const Data& data) {
  std::string hero;
  double best = -1;
  const auto exact = [](const auto& one) { return one.second->kind == "gemm" && one.second->precision == "full"; };
  const bool any_exact = std::any_of(data.rows.begin(), data.rows.end(), exact);
  for (const std::string& name : data.contenders) {
    if (is_baseline(name, data)) continue;
    std::vector<double> speed;
    for (const auto& [who, row] : data.rows) {
      if (who == name && row->vs_baseline > 0 && (!any_exact || row->precision == "full")) speed.push_back(row->vs_baseline);
    }
    if (speed.empty() || mean_of(speed) <= best) continue;
    best = mean_of(speed);
    hero = name;
  }
  return hero;
}

struct Heatmap {
  std::string script;
  std::size_t rows = 0;
};
Heatmap heatmap(const Data& data) {
  Heatmap map;
  const std::string hero = hero_of(data);
  if (hero.empty()) return map;
  std::vector<std::pair<std::int64_t, std::int64_t>> shapes;
  for (const auto& [name, row] : data.rows) {
    const std::pair shape(row->k, row->n);
    if (name == hero && std::find(shapes.begin(), shapes.end(), shape) == shapes.end()) shapes.push_back(shape);
  }
  std::sort(shapes.begin(), shapes.end(), [](auto a, auto b) { return a.first * a.second > b.first * b.second; });
  map.rows = shapes.size();
  std::string& script = map.script;
  script = head(fmt::format("Speed-up of {} over the unquantised product (above 1: faster)", hero), data);
  script += "$d << EOD\n";
  std::string xtics, ytics;
  for (std::size_t x = 0; x < data.ms.size(); ++x) xtics += fmt::format("{}'{}' {}", x == 0 ? "" : ", ", data.ms[x], x);
  for (std::size_t y = 0; y < shapes.size(); ++y)
    ytics += fmt::format("{}'{} x {}' {}", y == 0 ? "" : ", ", shapes[y].first, shapes[y].second, y);
  for (const auto& [name, row] : data.rows) {
    if (name != hero || row->vs_baseline <= 0) continue;
    const auto x = std::find(data.ms.begin(), data.ms.end(), row->m) - data.ms.begin();
    const auto y = std::find(shapes.begin(), shapes.end(), std::pair(row->k, row->n)) - shapes.begin();
    script += fmt::format("{} {} {:.4f} {:.2f}\n", x, y, std::clamp(std::log2(row->vs_baseline), -2.0, 2.0), row->vs_baseline);
  }
  script += "EOD\nunset key\nunset grid\nset style fill solid 1 noborder\n";
  script += fmt::format(
      "set xtics ({}) scale 0 font ',<SMALL>'\nset ytics ({}) scale 0 font ',<SMALL>'\nset xlabel 'M (rows of activations)'\nset ylabel 'K "
      "x N'\n",
      xtics, ytics);
  script += fmt::format("set xrange [-0.5:{}]\nset yrange [-0.5:{}]\n", static_cast<double>(data.ms.size()) - 0.5,
                        static_cast<double>(shapes.size()) - 0.5);
  script +=
      "set cbrange [-2:2]\nset cbtics ('1/4' -2, '1/2' -1, '1' 0, '2' 1, '4' 2)\nset cblabel 'times as fast' offset 1.5,0\n"
      "set palette defined (-2 '#d55e00', -1 '#f0b070', 0 '#ffffff', 1 '#8cc8ee', 2 '#3a93cc')\n"
      "plot $d using 1:2:(0.485):(0.47):3 with boxxyerror lc palette, $d using 1:2:4 with labels font ',<SMALL>' textcolor rgb 'black'\n";
  return map;
}

std::string roofline(const Data& data) {
  std::string script = head("Roofline: what memory and arithmetic allow, and what was reached", data);
  script += fmt::format("set xlabel 'arithmetic intensity (operations a byte)'\nset ylabel '{}'\nset logscale xy\n<KEY>\n", data.unit);
  double least = 1e300, most = 0, low = 1e300, high = 0;
  const auto intensity = [](const BenchRow& row) { return row.operations / row.bytes; };
  for (const auto& [name, row] : data.rows) {
    if (row->bytes <= 0) continue;
    least = std::min(least, intensity(*row));
    most = std::max(most, intensity(*row));
    low = std::min(low, row->gflops() * data.scale);
    high = std::max(high, row->gflops() * data.scale);
  }
  for (std::size_t i = 0; i < data.contenders.size(); ++i) {
    script += fmt::format("$d{} << EOD\n", i);
    for (const auto& [name, row] : data.rows) {
      if (name == data.contenders[i] && row->bytes > 0)
        script += fmt::format("{:.6g} {:.6g}\n", intensity(*row), row->gflops() * data.scale);
    }
    script += "EOD\n";
  }
  // A roof for every arithmetic rate that rows are held against: f32 or 16-bit first, int8 is another.
  std::vector<std::pair<double, std::string>> roofs;
  if (data.run.rate_gflops > 0) roofs.emplace_back(data.run.rate_gflops, "");
  for (const auto& [name, row] : data.rows) {
    const double found = row->rate_gflops;
    const bool known = std::any_of(roofs.begin(), roofs.end(), [&](const auto& roof) { return std::abs(roof.first / found - 1) < 0.1; });
    if (found > 0 && !known) roofs.emplace_back(found, row->precision);
  }
  const double read = data.run.read_gbps * data.scale;
  double highest = high;
  for (const auto& roof : roofs) highest = std::max(highest, roof.first * data.scale);
  script += fmt::format("set xrange [{:g}:{:g}]\nset yrange [{:g}:{:g}]\nset samples 600\n", least / 1.5, most * 1.5, low / 2, highest * 6);
  std::string plot = "plot ";
  for (std::size_t i = 0; i < roofs.size() && read > 0; ++i) {
    const double rate = roofs[i].first * data.scale;
    script += fmt::format("roof{0}(x) = (x * {1:.8g} < {2:.8g}) ? x * {1:.8g} : {2:.8g}\n", i, read, rate);
    const bool tera = data.unit == "TFLOP/s";
    const std::string bandwidth =
        tera ? fmt::format("{:.2f} TB/s", data.run.read_gbps / 1000) : fmt::format("{:.1f} GB/s", data.run.read_gbps);
    const std::string title = i > 0 ? fmt::format("ceiling of {}: {:.0f} {}", roofs[i].second, rate, data.unit)
                                    : fmt::format("measured ceilings: {}, {:.0f} {}", bandwidth, rate, data.unit);
    plot += fmt::format("roof{}(x) with lines lc rgb 'black' lw 2.5 dt {} title {}, ", i, i + 1, gnuplot_text(title));
  }
  for (std::size_t i = 0; i < data.contenders.size(); ++i) {
    plot +=
        fmt::format("{}$d{} using 1:2 with points {} title {}", i == 0 ? "" : ", ", i, style(i, 0.75), gnuplot_text(data.contenders[i]));
  }
  return script + plot + "\n";
}

std::string with_key(std::string script, const Data& data) {
  const std::string mark = "<KEY>",
                    key = names_inside(data) ? "set key left top reverse Left" : "set key outside right top reverse Left samplen 2";
  for (std::size_t at = script.find(mark); at != std::string::npos; at = script.find(mark)) script.replace(at, mark.size(), key);
  return script;
}

void say_what_is_wrong(const BenchResults& run) {
  if (!run.complete) {
    say(fmt::format("billfish plot: {}: the run is not complete: what it lacks is missing in the pictures; its command goes on with it\n",
                    one_line(run.path)));
  }
  if (!run.valid) {
    say(fmt::format("billfish plot: {}: the run is not valid: some product was wrong (invalid_because says which)\n", one_line(run.path)));
  }
}

int run(const Words& words) {
  const Data data = data_of(words);
  std::vector<std::string> written;
  if (!data.common.empty()) {
    written = {"throughput_scaling", "latency_comparison"};
    draw_with_gnuplot(with_key(throughput(data), data), words.out, written[0], {});
    draw_with_gnuplot(with_key(latency(data), data), words.out, written[1], {1000, 620});
  } else {
    fmt::print("no throughput_scaling, no latency_comparison: no layer of the run was measured by all, at every M that they have\n");
  }
  if (std::any_of(data.rows.begin(), data.rows.end(), [](const auto& one) { return one.second->bytes > 0; })) {
    draw_with_gnuplot(with_key(roofline(data), data), words.out, "roofline", {1000, 700});
    written.emplace_back("roofline");
  } else {
    fmt::print("no roofline: the run does not say how many bytes its products move\n");
  }
  const Heatmap map = heatmap(data);
  if (map.rows > 0) {
    draw_with_gnuplot(map.script, words.out, "speedup_heatmap", {1000, std::clamp(210 + 42 * static_cast<int>(map.rows), 300, 1600)});
    written.emplace_back("speedup_heatmap");
  } else {
    fmt::print("no speedup_heatmap: the run has no unquantised product to compare with\n");
  }
  if (!data.left_out.empty()) {
    fmt::print("not drawn, as there are only {} colours: {}\n", kMostContenders, fmt::join(data.left_out, ", "));
  }
  say_what_is_wrong(data.run);
  for (const std::string& name : written) fmt::print("written: {0}/{1}.svg, {0}/{1}.png\n", words.out, name);
  return kOk;
}

}  // namespace

Runner add_plot(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  arguments.add_option("RESULTS", words->results, "A results.json of `billfish bench`, or the folder with it").required();
  arguments.add_option("--out", words->out, "Folder for the pictures, as SVG and PNG").required().value_name("FOLDER");
  arguments.add_option("--act", words->act, "Of which activations; the run's first if not given").value_name("TYPE");
  arguments.footer("Example:\n  billfish plot bench/results/h200-today/results.json --out pictures");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
