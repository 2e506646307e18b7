// SPDX-License-Identifier: Apache-2.0
// One cell: every candidate is checked and timed for a moment, the fastest few and the library's own choice once more, in turns.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "errors.hpp"
#include "tune.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr double kHopeless = 2;       // times as slow as the best so far, at a glance: not timed
constexpr double kGlanceUs = 30;      // by which a glance may be too high: it holds the launch of a graph, and caches are cold
constexpr double kWorthwhile = 0.01;  // so much faster than the library's choice, or that stays

const char* implementation_of(const TuneOptions& options) {
  return options.bench.implementation.empty() ? nullptr : options.bench.implementation.c_str();
}

// Those of the implementation that would run the cell anyway, unless all were asked for.
std::vector<Candidate> candidates_of(const Json& list, const TuneOptions& options) {
  std::vector<Candidate> all;
  std::string home;
  for (const Json& one : list["candidates"]) {
    Candidate candidate;
    candidate.index = static_cast<std::int64_t>(all.size());
    candidate.plan = one["plan"];
    candidate.chosen = one["chosen"].get<bool>();
    if (candidate.chosen) home = candidate.plan["implementation"].get<std::string>();
    all.push_back(std::move(candidate));
  }
  if (!options.bench.every_implementation) {
    std::erase_if(all, [&](const Candidate& candidate) { return candidate.plan["implementation"] != home; });
  }
  // The library's choice first: it is what others are held against.
  std::stable_partition(all.begin(), all.end(), [](const Candidate& candidate) { return candidate.chosen; });
  return all;
}

// For the cost model: the plan's numbers, one row a candidate.
constexpr const char* kColumns[] = {"implementation", "policy", "tile_m", "tile_n", "splits", "cluster", "threads", "blocks", "detail"};

Json table_of(const std::vector<Candidate>& candidates) {
  Json columns = Json::array(), rows = Json::array();
  for (const char* name : kColumns) columns.push_back(name);
  for (const char* name : {"chosen", "correct", "us_quick", "us"}) columns.push_back(name);
  for (const Candidate& candidate : candidates) {
    Json row = Json::array();
    for (const char* name : kColumns) row.push_back(candidate.plan[name]);
    row.push_back(candidate.chosen);
    row.push_back(candidate.correct);
    for (const double us : {candidate.us_quick, candidate.us}) row.push_back(std::round(us * 1e3) / 1e3);
    rows.push_back(std::move(row));
  }
  return {{"columns", columns}, {"rows", rows}};
}

// Whatever happens to a search, the candidate that was last in use is not left behind.
class InUse {
 public:
  InUse(const TuneDevice& device, const TuneOptions& options, std::int64_t m)
      : device_(device.name()), implementation_(implementation_of(options)), problem_(device.problem(m)) {}
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;
  ~InUse() { (void)billfish_tools_use_candidate(&problem_, device_.c_str(), implementation_, -1); }
  void use(const Candidate& candidate) {
    check(billfish_tools_use_candidate(&problem_, device_.c_str(), implementation_, candidate.index));
  }

 private:
  std::string device_;
  const char* implementation_;
  billfish_problem problem_;
};

}  // namespace

std::string text_of_plan(const Json& plan) {
  std::string text = plan["policy"].get<std::string>();
  for (const char* name : {"splits", "cluster", "blocks"}) {
    if (plan[name] != 1) text += fmt::format(" {}={}", name, plan[name].get<std::int64_t>());
  }
  return text;
}

Json list_candidates(const TuneDevice& device, const TuneOptions& options, std::int64_t m) {
  const billfish_problem problem = device.problem(m);
  std::size_t length = 0;
  check(billfish_tools_candidates(&problem, device.name().c_str(), implementation_of(options), nullptr, 0, &length));
  std::vector<char> text(length + 1);
  check(billfish_tools_candidates(&problem, device.name().c_str(), implementation_of(options), text.data(), text.size(), &length));
  return parse_json({text.data(), length});
}

Json entry_of(const TuneDevice& device, const TuneOptions& options, const BenchShape& shape, std::int64_t m) {
  billfish_problem problem = device.problem(m);
  return {{"type", name_of(options.bench.type)},
          {"act", name_of(options.bench.act)},
          {"n", shape.n},
          {"k", shape.k},
          {"group", options.bench.group},
          {"zeroed_workspace", (problem.flags & BILLFISH_GEMM_ZEROED_WORKSPACE) != 0},
          {"dependent_launch", (problem.flags & BILLFISH_GEMM_DEPENDENT_LAUNCH) != 0},
          {"m_from", m},
          {"m_to", m}};
}

std::vector<std::string> tune_cell(TuneDevice& device, const TuneOptions& options, const BenchShape& shape, std::int64_t m, TuneFile& file,
                                   CellBar& bar) {
  Json entry = entry_of(device, options, shape, m);
  // The candidate's name among those that were given up.
  const auto key_of = [cell = text_of_json(entry) + " "](const Candidate& candidate) { return cell + text_of_json(candidate.plan); };
  std::vector<Candidate> candidates = candidates_of(list_candidates(device, options, m), options);
  std::erase_if(candidates, [&](const Candidate& candidate) { return file.is_given_up(key_of(candidate)); });
  InUse in_use(device, options, m);
  std::vector<std::string> wrong;
  std::vector<Candidate*> timed;
  double best = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    Candidate& candidate = candidates[i];
    const std::string plan = candidate.plan["implementation"].get<std::string>() + " " + text_of_plan(candidate.plan);
    bar.say_what(fmt::format("{} M={}: {} of {}", shape.label, m, i + 1, candidates.size()));
    file.trying(key_of(candidate));
    in_use.use(candidate);
    std::string what;
    try {
      what = device.check(m, plan);
    } catch (const Failure& failure) {
      file.give_up(key_of(candidate));
      throw Failure(failure.code(), fmt::format("{} at m={} n={} k={}: {} (the same command goes on without this plan)", plan, m, shape.n,
                                                shape.k, failure.what()));
    }
    if (!what.empty()) {  // what is wrong is not timed
      candidate.correct = false;
      wrong.push_back(fmt::format("{} m={} n={} k={}: {}", plan, m, shape.n, shape.k, what));
      continue;
    }
    const double glance = device.glance(m);
    if (best > 0 && glance > kHopeless * best + kGlanceUs) continue;
    candidate.us_quick = device.quick(m);
    best = best > 0 ? std::min(best, candidate.us_quick) : candidate.us_quick;
    timed.push_back(&candidate);
  }
  file.trying("");
  std::stable_sort(timed.begin(), timed.end(), [](const Candidate* x, const Candidate* y) { return x->us_quick < y->us_quick; });
  // The library's choice stays among them.
  std::stable_partition(timed.begin(), timed.end(), [](const Candidate* x) { return x->chosen; });
  timed.resize(std::min(timed.size(), static_cast<std::size_t>(options.finalists) + 1));
  if (timed.empty()) return wrong;  // nothing that is right: no plan
  const std::vector<double> us = device.take_turns(m, timed.size(), [&](std::size_t i) { in_use.use(*timed[i]); });
  for (std::size_t i = 0; i < timed.size(); ++i) timed[i]->us = us[i];
  const Candidate* winner = timed[0];
  for (const Candidate* candidate : timed) {
    const double least = winner->chosen ? kWorthwhile : 0;
    if (candidate->us * (1 + least) < winner->us) winner = candidate;
  }
  entry["plan"] = winner->plan;
  entry["label"] = shape.label;
  entry["us"] = winner->us;
  if (timed[0]->chosen) {
    entry["model_plan"] = timed[0]->plan;
    entry["model_us"] = timed[0]->us;
  }
  entry["when"] = file.document()["when"];
  entry["candidates"] = table_of(candidates);
  file.add(std::move(entry));
  return wrong;
}

}  // namespace billfish::cli
