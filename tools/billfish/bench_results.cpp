// SPDX-License-Identifier: Apache-2.0
#include "bench_results.hpp"

#include <algorithm>
#include <filesystem>

#include "errors.hpp"
#include "files.hpp"

namespace billfish::cli {

BenchResults read_results(const std::string& path) {
  BenchResults results;
  std::error_code error;
  results.path = std::filesystem::is_directory(path, error) ? path + "/results.json" : path;
  const std::vector<std::byte> bytes = read_file(results.path);
  const char* text = reinterpret_cast<const char*>(bytes.data());
  const Json json = parse_json({text, bytes.size()});
  if (!json.is_object() || !json.contains("rows") || !json["rows"].is_array()) {
    fail(kBadInput, "{}: not a results.json of `billfish bench`", results.path);
  }
  if (!json.contains("schema") || json["schema"] != 1) {
    fail(kBadInput, "{}: schema {}; this program reads schema 1", results.path,
         json.contains("schema") ? text_of_json(json["schema"]) : "none");
  }
  const auto word = [&](const char* name) { return json.contains(name) && json[name].is_string() ? json[name].get<std::string>() : ""; };
  const auto flag = [&](const char* name) { return !json.contains(name) || !json[name].is_boolean() || json[name].get<bool>(); };
  results.device = word("device");
  results.when = word("when");
  results.command = word("command");
  results.valid = flag("valid");
  results.complete = flag("complete");
  if (json.contains("ceilings") && json["ceilings"].is_object()) {
    const Json& ceilings = json["ceilings"];
    const auto number = [&](const char* name) {
      return ceilings.contains(name) && ceilings[name].is_number() ? ceilings[name].get<double>() : 0.0;
    };
    results.read_gbps = std::max(number("read_gbps"), number("used_read_gbps"));
    for (const char* name : {"used_f16_gflops", "f16_gflops", "bf16_gflops", "f32_gflops"}) {
      if (results.rate_gflops <= 0) results.rate_gflops = number(name);
    }
  }
  for (const Json& row : json["rows"]) {
    if (row.is_object()) results.rows.push_back(row_of_json(row));
  }
  if (results.rows.empty()) fail(kBadInput, "{}: no rows in it", results.path);
  return results;
}

}  // namespace billfish::cli
