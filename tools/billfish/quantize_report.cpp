// SPDX-License-Identifier: Apache-2.0
#include "quantize_report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <set>
#include <system_error>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "files.hpp"
#include "quantize_report_data.hpp"

namespace billfish::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kWritingShare = 0.02;  // the most of its time that a long run spends on texts which are written again later
constexpr std::size_t kTrialKinds = 8;  // as many as there are colours

void write_text(const std::string& path, const std::string& text) {
  OutputFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

std::string text_of_file(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::int64_t bytes_of_weights(const std::string& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) return static_cast<std::int64_t>(fs::file_size(path, error));
  std::int64_t bytes = 0;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().extension() == ".safetensors") bytes += static_cast<std::int64_t>(entry->file_size(ignored));
  }
  return bytes;
}

bool inside(const std::string& path, const std::string& folder) {
  std::error_code error;
  const fs::path low = fs::weakly_canonical(fs::absolute(path), error), high = fs::weakly_canonical(fs::absolute(folder), error);
  if (error || folder.empty()) return false;
  return std::mismatch(high.begin(), high.end(), low.begin(), low.end()).first == high.end();
}

}  // namespace

struct QuantizeReport::State {
  std::string folder;
  ReportData data;
  std::vector<LayerNumbers> earlier;  // of an interrupted run that this one goes on with
  std::set<std::string> tried;        // kinds of layers whose error against group size is known
  std::exception_ptr problem;
  double start = 0, next_text = 0;

  std::string path(const char* name) const { return folder + "/" + name; }

  void write_texts(const std::vector<std::string>& pictures, const std::string& no_pictures) {
    data.seconds = billfish_tools_now() - start;
    write_text(path("report.json"), report_json(data));  // first: whatever the others hold, a resumed run finds here
    write_text(path("layers.csv"), layers_csv(data));
    write_text(path("groups.csv"), groups_csv(data));
    write_text(path("channels.csv"), channels_csv(data));
    write_text(path("report.md"), report_text(data, pictures, no_pictures));
  }

  // What lies in the folder already: nothing, or a report that this one replaces or goes on with.
  void look_around() {
    std::error_code error;
    if (data.facts.options.resume == 0 || !fs::exists(path("report.json"), error)) return;
    earlier = layers_of_json(text_of_file(path("report.json")), data.facts);
  }
};

void begin_report_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(kBadInput, "--report {}: cannot make this folder: {}", folder, error.message());
  const std::string text = folder + "/report.md";
  if (fs::exists(text, error) && !text_of_file(text).starts_with(kReportMark)) {
    fail(kUsage, "--report {}: the report.md there is not one of billfish quantize: name another folder", folder);
  }
}

QuantizeReport::QuantizeReport(const std::string& folder, const QuantizeReportFacts& facts) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.folder = folder;
  state.data.facts = facts;
  state.start = billfish_tools_now();
  if (folder.empty()) fail(kUsage, "--report needs the name of a folder");
  if (inside(folder, facts.out)) {
    fail(kUsage, "--report {} lies in {}, which appears only when it is whole: name a folder elsewhere", folder, facts.out);
  }
  std::error_code error;
  if (fs::is_directory(facts.in, error) && inside(folder, facts.in)) {
    fail(kUsage, "--report {} lies in {}, which is read: name a folder elsewhere", folder, facts.in);
  }
  begin_report_folder(folder);
  state.look_around();
  state.data.stopped = "quantising was still under way";
  state.write_texts({}, "they are drawn at the end");
}

QuantizeReport::~QuantizeReport() = default;

void QuantizeReport::plan(const char* layer, std::int64_t n, std::int64_t k, const char* left) noexcept {
  try {
    if (left != nullptr && *left != '\0') state_->data.untouched.push_back({layer, left, n, k});
  } catch (...) {
    state_->problem = std::current_exception();
  }
}

void QuantizeReport::add(const billfish_quantize_layer& layer) noexcept {
  State& state = *state_;
  try {
    const auto known =
        std::find_if(state.earlier.begin(), state.earlier.end(), [&](const LayerNumbers& one) { return one.name == layer.name; });
    const std::string kind = kind_of(layer.name);
    if (layer.weights == nullptr && (known == state.earlier.end() || known->values.before.empty())) state.data.unseen.push_back(layer.name);
    if (layer.weights == nullptr && known != state.earlier.end()) {
      state.data.layers.push_back(*known);
    } else {
      const bool trials = layer.weights != nullptr && state.tried.size() < kTrialKinds && !state.tried.contains(kind);
      state.data.layers.push_back(numbers_of(layer, state.data.facts.options.matrix, trials));
    }
    if (!state.data.layers.back().trials.empty()) state.tried.insert(kind);
    const double begin = billfish_tools_now();
    if (begin < state.next_text) return;
    state.write_texts({}, "they are drawn at the end");
    const double end = billfish_tools_now();
    state.next_text = end + (end - begin) / kWritingShare;
  } catch (...) {
    if (!state.problem) state.problem = std::current_exception();
  }
}

std::string QuantizeReport::finish(const std::string& stopped) {
  State& state = *state_;
  if (state.problem) std::rethrow_exception(state.problem);
  state.data.stopped = stopped;
  state.data.bytes_in = bytes_of_weights(state.data.facts.in);
  state.data.bytes_out = stopped.empty() ? bytes_of_weights(state.data.facts.out) : 0;
  std::vector<std::string> pictures, skipped;
  std::string without;
  try {
    pictures = draw_report(state.data, state.folder, skipped);
  } catch (const Failure& failure) {
    if (failure.code() != kUnsupported) throw;
    without = failure.what();
  }
  std::string said;
  for (const std::string& line : skipped) said += (said.empty() ? "" : "; ") + line;
  state.write_texts(pictures, without.empty() ? said : without);
  if (!without.empty()) return fmt::format("written: {} without pictures: {}", state.path("report.md"), without);
  std::string lines = fmt::format("written: {}, {} pictures", state.path("report.md"), pictures.size());
  for (const std::string& line : skipped) lines += "\n" + line;
  if (!state.data.unseen.empty()) {
    lines += fmt::format("\nthe report is not complete: it has not seen {} layers that the interrupted run had finished, and says which",
                         state.data.unseen.size());
  }
  return lines;
}

}  // namespace billfish::cli
