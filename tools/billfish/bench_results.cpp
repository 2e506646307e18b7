// SPDX-License-Identifier: Apache-2.0
#include "bench_results.hpp"

#include <algorithm>
#include <filesystem>

#include "errors.hpp"

namespace billfish::cli {

BenchResults read_results_file(const std::string& path, const std::string& remedy) {
  const std::string problem = "not a results.json of a benchmark (`billfish bench --out FOLDER`)";
  const Document document = read_document(path, problem, remedy);
  if (!document.has_list("rows")) document.refuse(problem);
  const Members members(document);
  const std::int64_t schema = members.whole("schema");
  if (schema != 1)
    document.refuse(fmt::format("schema {}, this program reads schema 1", members.has("schema") ? std::to_string(schema) : "none"));
  BenchResults results;
  results.path = path;
  results.device = members.words("device");
  results.when = members.words("when");
  results.command = members.words("command");
  results.valid = members.flag("valid", true);
  results.complete = members.flag("complete", true);
  if (members.has("ceilings")) {
    const Members ceilings(document, document.json["ceilings"], "ceilings");
    results.read_gbps = std::max(ceilings.number("read_gbps"), ceilings.number("used_read_gbps"));
    for (const char* name : {"used_f16_gflops", "f16_gflops", "bf16_gflops", "f32_gflops"}) {
      if (results.rate_gflops <= 0) results.rate_gflops = ceilings.number(name);
    }
  }
  const Json& rows = document.json["rows"];
  for (std::size_t i = 0; i < rows.size(); ++i) results.rows.push_back(row_of_json(Members(document, rows[i], fmt::format("rows[{}]", i))));
  if (document.has_list("warnings")) {
    for (const Json& line : document.json["warnings"]) {
      if (line.is_string()) results.warnings.push_back(one_line(line.get<std::string>()));
    }
  }
  return results;
}

BenchResults read_results(const std::string& path) {
  std::error_code error;
  const std::string file = std::filesystem::is_directory(path, error) ? path + "/results.json" : path;
  BenchResults results = read_results_file(file, "measure again with `billfish bench --out FOLDER`, or name another file");
  if (results.rows.empty()) fail(kBadInput, "{}: no rows in it; measure again with `billfish bench --out FOLDER`", file);
  return results;
}

}  // namespace billfish::cli
