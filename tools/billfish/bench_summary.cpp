// SPDX-License-Identifier: Apache-2.0
#include "bench_summary.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "terminal.hpp"

namespace billfish::cli {
namespace {

struct Grid {
  std::string title;
  std::vector<std::string> columns;                              // contenders in order of appearance
  std::map<std::int64_t, std::map<std::string, BenchRow>> rows;  // by M
};

std::vector<Grid> grids_of(const std::vector<BenchRow>& rows) {
  std::vector<Grid> grids;
  std::map<std::string, std::size_t> by_title;
  for (const BenchRow& row : rows) {
    if (row.kind != "gemm") continue;
    const std::string title = fmt::format("K={} N={} {}{}{} {}", row.k, row.n, row.type, row.group > 0 ? fmt::format("/{}", row.group) : "",
                                          row.act_order ? " act order" : "", row.act);
    const auto [place, fresh] = by_title.try_emplace(title, grids.size());
    if (fresh) grids.push_back({title, {}, {}});
    Grid& grid = grids[place->second];
    const std::string name = contender_of(row);
    if (std::find(grid.columns.begin(), grid.columns.end(), name) == grid.columns.end()) grid.columns.push_back(name);
    grid.rows[row.m][name] = row;
  }
  // The unquantised product of the same shape and type of activations.
  for (const BenchRow& row : rows) {
    if (row.kind != "baseline") continue;
    for (Grid& grid : grids) {
      const bool shape = grid.title.starts_with(fmt::format("K={} N={} ", row.k, row.n));
      const bool act = row.act == "f32" || grid.title.ends_with(" " + row.act);  // the CPU's works in f32 for all
      if (!shape || !act || !grid.rows.contains(row.m)) continue;
      const std::string name = contender_of(row);
      if (std::find(grid.columns.begin(), grid.columns.end(), name) == grid.columns.end()) grid.columns.insert(grid.columns.begin(), name);
      grid.rows[row.m].try_emplace(name, row);
    }
  }
  return grids;
}

std::string us_text(double us) { return us < 1000 ? fmt::format("{:.1f} us", us) : fmt::format("{:.2f} ms", us / 1000); }

std::string cell_text(const BenchRow& row) {
  if (!row.correct) return "FAILED";
  return us_text(row.us.median) + (row.vs_baseline > 0 ? fmt::format(" {:.2f}x", row.vs_baseline) : "");
}

std::string best_of(const std::map<std::string, BenchRow>& cells) {
  std::string best;
  double least = 0;
  for (const auto& [name, row] : cells) {
    if (!row.correct || row.us.median <= 0 || (!best.empty() && row.us.median >= least)) continue;
    best = name;
    least = row.us.median;
  }
  return best;
}

double mean_of(const std::vector<double>& values) {  // geometric
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return values.empty() ? 0 : std::exp(sum / static_cast<double>(values.size()));
}

std::string number_or_dash(double value, const char* format) { return value > 0 ? fmt::format(fmt::runtime(format), value) : "-"; }

std::string list_of(const Json& run, const char* name, const char* title) {
  if (!run.contains(name) || !run[name].is_array() || run[name].empty()) return "";
  std::string text = fmt::format("\n## {}\n\n", title);
  for (const Json& line : run[name]) text += "* " + (line.is_string() ? line.get<std::string>() : text_of_json(line)) + "\n";
  return text;
}

}  // namespace

std::string contender_of(const BenchRow& row) {
  std::string name = row.implementation;
  if (row.kind == "gemm" && row.threads > 0 && !name.ends_with(" " + row.precision)) name += " " + row.precision;
  if (row.dependent_launch && *row.dependent_launch) name += " dependent";
  return name;
}

std::string tables_of(const std::vector<BenchRow>& rows) {
  std::string text;
  for (const Grid& grid : grids_of(rows)) {
    std::vector<std::size_t> widths = {6};
    for (const std::string& column : grid.columns) widths.push_back(column.size());
    for (const auto& [m, cells] : grid.rows) {
      for (std::size_t c = 0; c < grid.columns.size(); ++c) {
        const auto cell = cells.find(grid.columns[c]);
        if (cell != cells.end()) widths[c + 1] = std::max(widths[c + 1], cell_text(cell->second).size());
      }
    }
    text += fmt::format("\n{}\n{:>6}", grid.title, "M");
    for (std::size_t c = 0; c < grid.columns.size(); ++c) text += fmt::format("  {:>{}}", grid.columns[c], widths[c + 1]);
    text += "\n";
    for (const auto& [m, cells] : grid.rows) {
      text += fmt::format("{:>6}", m);
      const std::string best = best_of(cells);
      for (std::size_t c = 0; c < grid.columns.size(); ++c) {
        const auto cell = cells.find(grid.columns[c]);
        const std::string words = fmt::format("{:>{}}", cell == cells.end() ? "-" : cell_text(cell->second), widths[c + 1]);
        text += "  " + (grid.columns[c] == best ? bold(words) : words);
      }
      text += "\n";
    }
  }
  return text;
}

std::string summary_of(const Json& run, const std::vector<BenchRow>& rows) {
  std::string text = fmt::format("# {}\n\n{}, `{}`.\n", words_of(run, "device"), words_of(run, "when"), words_of(run, "command"));
  if (run["complete"] == false) text += "\n**Not complete:** the run was cut short; the same command goes on where it stopped.\n";
  if (run["valid"] == false) text += "\n**Not valid.**\n";
  text += list_of(run, "invalid_because", "Not valid because");
  text += list_of(run, "warnings", "Warnings");
  text += "\n## Ceilings and conditions\n\n";
  for (const char* part : {"ceilings", "conditions"}) {
    if (!run.contains(part)) continue;
    for (const auto& [name, value] : run[part].items()) {
      text += fmt::format("* {}: {}\n", name, value.is_number_float() ? fmt::format("{:.1f}", value.get<double>()) : text_of_json(value));
    }
  }
  std::map<std::pair<std::string, std::int64_t>, std::vector<const BenchRow*>> by_m;
  for (const BenchRow& row : rows) {
    if (row.kind == "gemm" && row.correct) by_m[{contender_of(row) + " " + row.type + " " + row.act, row.m}].push_back(&row);
  }
  if (!by_m.empty()) {
    text +=
        "\n## Geometric means over the layers\n\n| implementation | M | layers | tokens/s | TFLOP/s | GB/s | % of roofline | speed-up | "
        "memory saved |\n";
    text += "|---|---|---|---|---|---|---|---|---|\n";
    for (const auto& [key, list] : by_m) {
      std::vector<double> tokens, flops, bytes, share, speed, saved;
      const auto put = [](std::vector<double>& values, double value) {
        if (value > 0) values.push_back(value);
      };
      for (const BenchRow* row : list) {
        put(tokens, row->tokens_per_second());
        put(flops, row->gflops() / 1000);
        put(bytes, row->gbps());
        put(share, row->t_over_roofline() > 0 ? 100 / row->t_over_roofline() : 0);
        put(speed, row->vs_baseline);
        put(saved, row->memory_saved);
      }
      text += fmt::format("| {} | {} | {} | {:.0f} | {:.3g} | {:.1f} | {} | {} | {} |\n", key.first, key.second, list.size(),
                          mean_of(tokens), mean_of(flops), mean_of(bytes), number_or_dash(mean_of(share), "{:.0f}"),
                          number_or_dash(mean_of(speed), "{:.2f}"), number_or_dash(mean_of(saved), "{:.2f}"));
    }
  }
  for (const Grid& grid : grids_of(rows)) {
    text += fmt::format("\n## {}\n\n| M |", grid.title);
    for (const std::string& column : grid.columns) text += " " + column + " |";
    text += "\n|---|" + [&] {
      std::string line;
      for (std::size_t i = 0; i < grid.columns.size(); ++i) line += "---|";
      return line;
    }() + "\n";
    for (const auto& [m, cells] : grid.rows) {
      text += fmt::format("| {} |", m);
      const std::string best = best_of(cells);
      for (const std::string& column : grid.columns) {
        const auto cell = cells.find(column);
        const std::string words = cell == cells.end() ? "-" : cell_text(cell->second);
        text += column == best ? " **" + words + "** |" : " " + words + " |";
      }
      text += "\n";
    }
  }
  bool packs = false;
  for (const BenchRow& row : rows) {
    if (row.kind != "pack") continue;
    if (!packs) text += "\n## Repacking, checkpoint order to Marlin bytes\n\n| K x N | from | ms | GB/s |\n|---|---|---|---|\n";
    packs = true;
    text += fmt::format("| {} x {} | {} | {:.3f} | {:.1f} |\n", row.k, row.n, row.implementation, row.us.median / 1000, row.gbps());
  }
  return text + list_of(run, "skipped", "Skipped");
}

}  // namespace billfish::cli
