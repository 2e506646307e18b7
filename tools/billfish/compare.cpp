// SPDX-License-Identifier: Apache-2.0
// `billfish compare`: two benchmark runs, cell by cell: which moved beyond the spread of their samples, and which became slower.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "bench_results.hpp"
#include "bench_summary.hpp"
#include "commands.hpp"
#include "errors.hpp"
#include "options.hpp"
#include "terminal.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

struct Words {
  std::string old_path, new_path;
  double tolerance = 0.05;
  bool json = false, all = false;
};

struct Cell {
  BenchRow before, after;
  double ratio = 1;    // new time / old time
  bool moved = false;  // the ranges from the 10th to the 90th percentile do not touch
};

std::string name_of_cell(const BenchRow& row) {
  std::string name = row.kind == "gemm" ? contender_of(row) : row.kind + " " + contender_of(row);
  if (!row.type.empty()) name += fmt::format(" {}/{}", row.type, row.group);
  return one_line(name + " " + row.act);  // no control characters of a file reach a terminal
}

int run(const Words& words) {
  if (!(words.tolerance >= 0 && words.tolerance < 10)) {
    fail(kUsage, "--tolerance is {}: it must be 0 or more and below 10 (0.05 allows 5 % more time)", words.tolerance);
  }
  const BenchResults before = read_results(words.old_path), after = read_results(words.new_path);
  std::map<std::string, const BenchRow*> old_rows;
  for (const BenchRow& row : before.rows) old_rows[row.key()] = &row;
  std::vector<Cell> cells;
  std::int64_t only_new = 0, only_old = 0, failed = 0;
  for (const BenchRow& row : after.rows) {
    const auto found = old_rows.find(row.key());
    if (found == old_rows.end()) {
      ++only_new;
      continue;
    }
    Cell cell = {*found->second, row, 1, false};
    old_rows.erase(found);
    if (!row.correct && cell.before.correct) ++failed;
    if (cell.before.us.median <= 0 || row.us.median <= 0) continue;
    cell.ratio = row.us.median / cell.before.us.median;
    cell.moved = row.us.p10 > cell.before.us.p90 || row.us.p90 < cell.before.us.p10;
    cells.push_back(cell);
  }
  only_old = static_cast<std::int64_t>(old_rows.size());
  if (cells.empty() && failed == 0) fail(kBadInput, "{} and {} have no cell in common", words.old_path, words.new_path);

  const auto slower = [&](const Cell& cell) { return cell.moved && cell.ratio > 1 + words.tolerance && cell.after.kind != "baseline"; };
  std::int64_t regressions = 0, moved = 0;
  double sum = 0;
  std::int64_t counted = 0;
  std::sort(cells.begin(), cells.end(), [](const Cell& a, const Cell& b) { return a.ratio > b.ratio; });
  Table table({"new/old", "old us", "new us", "M", "K x N", "what", ""});
  Json rows = Json::array();
  for (const Cell& cell : cells) {
    regressions += slower(cell);
    moved += cell.moved;
    if (cell.after.kind == "gemm") {
      sum += std::log(cell.ratio);
      ++counted;
    }
    const char* verdict = slower(cell) ? "SLOWER" : !cell.moved ? "" : cell.ratio > 1 ? "slower" : "faster";
    rows.push_back({{"key", cell.after.key()},
                    {"ratio", cell.ratio},
                    {"old_us", cell.before.us.median},
                    {"new_us", cell.after.us.median},
                    {"moved", cell.moved},
                    {"regression", slower(cell)}});
    if (!cell.moved && !words.all) continue;
    table.add({fmt::format("{:.3f}", cell.ratio), fmt::format("{:.2f}", cell.before.us.median), fmt::format("{:.2f}", cell.after.us.median),
               std::to_string(cell.after.m), fmt::format("{} x {}", cell.after.k, cell.after.n), name_of_cell(cell.after), verdict});
  }
  const double mean = counted > 0 ? std::exp(sum / static_cast<double>(counted)) : 1;
  if (words.json) {
    print_json({{"schema", 1},
                {"tolerance", words.tolerance},
                {"cells", rows},
                {"only_old", only_old},
                {"only_new", only_new},
                {"failed", failed},
                {"regressions", regressions},
                {"mean_ratio", mean}});
  } else {
    fmt::print("old: {}, {}, {}\nnew: {}, {}, {}\n", words.old_path, one_line(before.device), one_line(before.when), words.new_path,
               one_line(after.device), one_line(after.when));
    if (before.device != after.device) fmt::print("{}\n", bold("These are two different devices."));
    for (const BenchResults* run_of : {&before, &after}) {
      if (!run_of->complete) fmt::print("{} is not complete: the run was cut short\n", run_of->path);
      if (!run_of->valid) fmt::print("{} is not valid\n", run_of->path);
    }
    if (moved > 0 || words.all) fmt::print("\n{}\n", table.text());
    fmt::print("{} cells, {} moved beyond their spread, {} slower by more than {:g} %; products take {:.3f} x the old time on average\n",
               cells.size(), moved, regressions, words.tolerance * 100, mean);
    if (only_old > 0 || only_new > 0) fmt::print("{} cells are in the old run only, {} in the new one only\n", only_old, only_new);
  }
  if (failed > 0) fail(kCheckFailed, "{} products are wrong in {} that were right in {}", failed, words.new_path, words.old_path);
  return regressions > 0 ? kCheckFailed : kOk;
}

}  // namespace

Runner add_compare(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  arguments.add_option("OLD", words->old_path, "A results.json, or the folder with it").required();
  arguments.add_option("NEW", words->new_path, "The one to hold against it").required();
  arguments.add_option("--tolerance", words->tolerance, "How much more time is no regression").show_default().value_name("SHARE");
  arguments.add_flag("--all", words->all, "List cells that did not move, too");
  add_json_flag(arguments, words->json);
  arguments.footer("Example:\n  billfish compare results/monday results/today --tolerance 0.03");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
