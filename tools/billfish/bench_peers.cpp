// SPDX-License-Identifier: Apache-2.0
#include "bench_peers.hpp"

#include <cmath>
#include <vector>

#include "errors.hpp"
#include "members.hpp"

namespace billfish::cli {
namespace {

constexpr double kMostOff = 0.08;
constexpr double kLeastFigure = 1e-9;  // times and ratios are divided by

}  // namespace

Peers::Peers(const std::string& path) {
  if (path.empty()) return;
  const Document document =
      read_document(path, "not the peers' figures", "leave --peers out, or name a file such as bench/peers/h200.json");
  if (!document.has_list("cells")) document.refuse("not the peers' figures: no list \"cells\" in it");
  device_ = Members(document).words("device");
  const Json& cells = document.json["cells"];
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const Members cell(document, cells[i], fmt::format("cells[{}]", i));
    cell.need({"M", "N", "K", "cublas_us", "best_over_cublas"});
    cells_[{cell.whole("M", 1), cell.whole("N", 1), cell.whole("K", 1)}] = {
        cell.number("cublas_us", kLeastFigure), cell.number("best_over_cublas", kLeastFigure), cell.words("best")};
  }
}

const PeerCell* Peers::find(std::int64_t m, std::int64_t n, std::int64_t k) const {
  const auto cell = cells_.find({m, n, k});
  return cell != cells_.end() ? &cell->second : nullptr;
}

void judge_run(const Peers& peers, BenchReport& report) {
  std::map<std::int64_t, std::vector<double>> ratios;  // by M: logarithms
  for (const BenchRow& row : report.rows()) {
    if (row.kind != "baseline" || row.implementation != "cublas" || row.act != "f16") continue;
    if (const PeerCell* cell = peers.find(row.m, row.n, row.k); cell != nullptr)
      ratios[row.m].push_back(std::log(row.us.median / cell->cublas_us));
  }
  Json rows = Json::object();
  for (const auto& [m, logarithms] : ratios) {
    double sum = 0;
    for (const double value : logarithms) sum += value;
    const double ratio = std::exp(sum / static_cast<double>(logarithms.size()));
    rows[std::to_string(m)] = ratio;
    if (std::abs(ratio - 1) <= kMostOff) continue;
    report.valid = false;
    report.invalid_because.push_back(
        fmt::format("cuBLAS at M={} takes {:.2f} x the reference run's time on average, outside 1 +- {:.2f}", m, ratio, kMostOff));
  }
  if (!rows.empty()) report.conditions["cublas_over_reference"] = rows;
}

}  // namespace billfish::cli
