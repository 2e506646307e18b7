// SPDX-License-Identifier: Apache-2.0
// Any bytes as each of the tool's own JSON files in turn: results of a benchmark, the peers' figures, facts of a GPU, a quantising report,
// plans of an earlier search. Refused with a message, or what was read can be written, told and read again.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../../fuzz/targets/files.hpp"
#include "../../fuzz/targets/refused.hpp"
#include "../../tools/billfish/bench_peers.hpp"
#include "../../tools/billfish/bench_results.hpp"
#include "../../tools/billfish/bench_summary.hpp"
#include "../../tools/billfish/gpu_facts.hpp"
#include "../../tools/billfish/quantize_report_data.hpp"
#include "../../tools/billfish/tune.hpp"

namespace billfish::fuzz {

inline bool read_as_results(const std::string& path, const Folder& folder) {
  cli::BenchResults results;
  if (refused([&] { results = cli::read_results(path); })) return false;
  cli::Json document = {{"schema", 1}, {"rows", cli::Json::array()}};
  for (const cli::BenchRow& row : results.rows) {
    if (row.m < 0 || row.n < 0 || row.k < 0 || row.threads < 0) __builtin_trap();
    document["rows"].push_back(to_json(row));
  }
  folder.write("again.json", cli::text_of_json(document));
  cli::BenchResults same;
  if (refused([&] { same = cli::read_results(folder / "again.json"); }) || same.rows.size() != results.rows.size()) __builtin_trap();
  for (std::size_t i = 0; i < same.rows.size(); ++i) {
    if (same.rows[i].key() != results.rows[i].key() || same.rows[i].correct != results.rows[i].correct) __builtin_trap();
  }
  // A run that goes on with them writes its summary anew.
  document.update({{"device", results.device}, {"when", results.when}, {"command", results.command}});
  document.update({{"valid", results.valid}, {"complete", results.complete}, {"warnings", results.warnings}});
  if (cli::summary_of(document, results.rows).empty()) __builtin_trap();
  (void)cli::tables_of(results.rows);
  return true;
}

inline bool read_as_peers(const std::string& path) {
  return !refused([&] {
    const cli::Peers peers(path);
    const cli::PeerCell* cell = peers.find(1, 4096, 4096);
    if (cell != nullptr && !(std::isfinite(std::log(cell->cublas_us)) && cell->best_over_cublas > 0)) __builtin_trap();
  });
}

inline bool read_as_facts(const std::string& path, const Folder& folder) {
  cli::GpuFacts gpu;
  if (refused([&] { gpu = cli::read_gpu_facts(path); })) return false;
  const cli::Theory theory = gpu.theory();
  if (!std::isfinite(theory.read_gbps) || !std::isfinite(theory.tensor_tflops)) __builtin_trap();
  const cli::Json document = {{"facts", cli::json_of(gpu.facts)}, {"measured", cli::json_of(gpu.figures)}};
  folder.write("again.json", cli::text_of_json(document));
  cli::GpuFacts same;
  if (refused([&] { same = cli::read_gpu_facts(folder / "again.json"); })) __builtin_trap();
  if (cli::json_of(same.facts) != cli::json_of(gpu.facts) || cli::json_of(same.figures) != cli::json_of(gpu.figures)) __builtin_trap();
  return true;
}

inline bool read_as_report(const std::string& text) {
  cli::ReportData data;
  data.facts.out = "out";
  data.layers = cli::layers_of_json(text, data.facts);
  if (data.layers.empty()) return false;
  if (cli::layers_of_json(cli::report_json(data), data.facts).size() != data.layers.size()) __builtin_trap();
  if (cli::report_text(data, {"layers"}, "").empty() || cli::layers_csv(data).empty() || cli::groups_csv(data).empty() ||
      cli::channels_csv(data).empty())
    __builtin_trap();
  return true;
}

inline bool read_as_plans(const std::string& path) {
  const cli::Json device = {{"kind", "cpu"}, {"name", "any"}};
  cli::Json document;
  if (refused([&] { document = cli::read_tune_file(path, device); })) return false;
  for (const cli::Json& entry : document["plans"]) {
    if (cli::whole_of(entry, "m_to") < 1 || !entry["plan"].is_object()) __builtin_trap();
  }
  return true;
}

// Whether any of the readers accepted it.
inline bool documents(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const Folder folder;
  folder.write("document.json", bytes);
  const std::string path = folder / "document.json";
  bool any = read_as_results(path, folder);
  any = read_as_peers(path) || any;
  any = read_as_facts(path, folder) || any;
  any = read_as_report(std::string(bytes)) || any;
  return read_as_plans(path) || any;
}

}  // namespace billfish::fuzz
