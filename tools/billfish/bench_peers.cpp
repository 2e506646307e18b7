// SPDX-License-Identifier: Apache-2.0
#include "bench_peers.hpp"

#include <cmath>
#include <vector>

#include "errors.hpp"
#include "files.hpp"

namespace billfish::cli {
namespace {

constexpr double kMostOff = 0.08;

}  // namespace

Peers::Peers(const std::string& path) {
  if (path.empty()) return;
  const std::vector<std::byte> bytes = read_file(path);
  const char* text = reinterpret_cast<const char*>(bytes.data());
  const Json json = parse_json({text, bytes.size()});
  const auto is_cell = [](const Json& cell) {
    for (const char* name : {"M", "N", "K", "cublas_us", "best_over_cublas"}) {
      if (!cell.is_object() || !cell.contains(name) || !cell[name].is_number()) return false;
    }
    return true;
  };
  if (!json.is_object() || !json.contains("cells") || !json["cells"].is_array()) {
    fail(kBadInput, "{}: not the peers' figures: no list \"cells\" in it", path);
  }
  device_ = json.value("device", "");
  for (const Json& cell : json["cells"]) {
    if (!is_cell(cell)) fail(kBadInput, "{}: a cell lacks M, N, K, cublas_us or best_over_cublas", path);
    cells_[{cell["M"], cell["N"], cell["K"]}] = {cell["cublas_us"], cell["best_over_cublas"], cell.value("best", "")};
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
