// SPDX-License-Identifier: Apache-2.0
// plans.json (docs/tuning.md has the schema): one plan a line, the times of all candidates with it.
#include <algorithm>
#include <filesystem>
#include <system_error>

#include "errors.hpp"
#include "files.hpp"
#include "machine.hpp"
#include "tune.hpp"

namespace billfish::cli {
namespace {

constexpr const char* kProblem[] = {"type", "act", "n", "k", "group", "zeroed_workspace", "dependent_launch"};

bool same_problem(const Json& x, const Json& y) {
  return std::all_of(std::begin(kProblem), std::end(kProblem),
                     [&](const char* name) { return x.value(name, Json()) == y.value(name, Json()); });
}

std::string driver_of(const Device& device) {
  if (device.kind == BILLFISH_CPU) return "";
  billfish_cuda_facts facts = BILLFISH_CUDA_FACTS_INIT;
  return billfish_tools_cuda_facts(device.index, &facts) == BILLFISH_OK ? facts.driver : "";
}

}  // namespace

TuneFile::TuneFile(const TuneOptions& options, const std::string& command, const Json& device)
    : path_(options.bench.out), beside_(options.bench.out + ".trying") {
  Json facts = {{"kind", words_of(device, "kind")}};
  for (const char* name : {"architecture", "multiprocessors"}) {
    if (facts["kind"] == "cuda") facts[name] = whole_of(device, name);
  }
  facts["name"] = machine_name(options.bench.device);
  document_ = {{"schema", kTuneSchema},
               {"device", facts},
               {"driver", driver_of(options.bench.device)},
               {"version", billfish_version_string()},
               {"when", now_text()},
               {"command", command},
               {"complete", false},
               {"given_up", Json::array()},
               {"plans", Json::array()}};
  std::error_code error;
  if (std::filesystem::exists(path_, error)) {
    const Json before = read_tune_file(path_, facts);
    for (const char* name : {"plans", "given_up"}) {
      if (before.contains(name)) document_[name] = before[name];
    }
  }
  // A kernel that never ended: what was being tried is left out from now on.
  if (std::filesystem::exists(beside_, error)) {
    const std::vector<std::byte> bytes = read_file(beside_);
    give_up(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    std::filesystem::remove(beside_, error);
  }
  save();  // a place that cannot be written is better known now
}

bool TuneFile::has(const Json& entry) const {
  return std::any_of(document_["plans"].begin(), document_["plans"].end(),
                     [&](const Json& there) { return same_problem(there, entry) && whole_of(there, "m_to") == whole_of(entry, "m_to"); });
}

void TuneFile::add(Json entry) {
  document_["plans"].push_back(std::move(entry));
  save();
}

void TuneFile::finish(bool complete) {
  document_["complete"] = complete;
  save();
  set_last_words({});
}

bool TuneFile::is_given_up(const std::string& candidate) const {
  return std::any_of(document_["given_up"].begin(), document_["given_up"].end(), [&](const Json& one) { return one == candidate; });
}

void TuneFile::give_up(const std::string& candidate) {
  if (!candidate.empty() && !is_given_up(candidate)) document_["given_up"].push_back(candidate);
  save();
}

void TuneFile::trying(const std::string& candidate) {
  trying_.reset();
  if (candidate.empty()) return;
  trying_ = std::make_unique<Temporary>(beside_);
  std::FILE* file = std::fopen(beside_.c_str(), "wb");
  if (file == nullptr) fail(kBadInput, "{}: {}", beside_, system_error());
  const bool written = std::fwrite(candidate.data(), 1, candidate.size(), file) == candidate.size();
  if (std::fclose(file) != 0 || !written) fail(kBadInput, "{}: {}", beside_, system_error());
}

// A plan counts for its m, and on a GPU below it for those that make as many tiles and were not measured themselves.
void TuneFile::set_ranges() {
  const bool cuda = document_["device"]["kind"] == "cuda";
  for (Json& entry : document_["plans"]) {
    const std::int64_t m = whole_of(entry, "m_to"), tile = whole_of(entry["plan"], "tile_m");
    std::int64_t from = cuda && tile > 0 ? (m - 1) / tile * tile + 1 : m;
    for (const Json& other : document_["plans"]) {
      if (whole_of(other, "m_to") < m && same_problem(other, entry)) from = std::max(from, whole_of(other, "m_to") + 1);
    }
    entry["m_from"] = from;
  }
}

void TuneFile::save() {
  set_ranges();
  std::string text = "{\n";
  for (const auto& [name, value] : document_.items()) {
    if (name != "plans") text += fmt::format(" {}: {},\n", text_of_json(name), text_of_json(value));
  }
  text += " \"plans\": [";
  const char* between = "\n";
  for (const Json& entry : document_["plans"]) {
    text += between + ("  " + text_of_json(entry));
    between = ",\n";
  }
  text += "\n ]\n}\n";
  OutputFile file(path_);
  file.write(text.data(), text.size());
  file.commit(fmt::format("billfish tune: interrupted; {} plans are kept in {}, and the same command goes on with them",
                          document_["plans"].size(), path_));
}

}  // namespace billfish::cli
