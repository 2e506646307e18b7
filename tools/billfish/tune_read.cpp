// SPDX-License-Identifier: Apache-2.0
// plans.json of an earlier `billfish tune`, read back: what the same command goes on with, or one of another device.
#include "errors.hpp"
#include "members.hpp"
#include "tune.hpp"

namespace billfish::cli {
namespace {

constexpr const char* kRemedy = "remove it or choose another --out";

void check_entry(const Document& document, const Json& json, const std::string& place) {
  const Members entry(document, json, place);
  entry.need({"plan", "m_to"});
  (void)entry.whole("m_to", 1);
  (void)entry.number("us", 0);
  (void)entry.number("model_us", 0);
  (void)Members(document, json["plan"], place + ".plan").whole("tile_m", 0);
}

}  // namespace

Json read_tune_file(const std::string& path, const Json& facts) {
  const std::string problem = fmt::format("not a file of plans of schema {}", kTuneSchema);
  Document document = read_document(path, problem, kRemedy);
  const Json& json = document.json;
  if (!document.has_list("plans") || json.value("schema", Json()) != kTuneSchema) document.refuse(problem);
  if (json.value("device", Json()) != facts) {
    fail(kBadInput, "{}: of {}, this is {}; one device, one file: choose another --out", path, shown(json.value("device", Json())),
         shown(facts));
  }
  const Json& plans = json["plans"];
  for (std::size_t i = 0; i < plans.size(); ++i) check_entry(document, plans[i], fmt::format("plans[{}]", i));
  if (json.contains("given_up") && !document.has_list("given_up")) document.refuse("\"given_up\" in it is no list");
  return std::move(document.json);
}

}  // namespace billfish::cli
