// SPDX-License-Identifier: Apache-2.0
// billfish_load_plans, BILLFISH_PLANS, and what tuning needs beside them: billfish_tools_candidates, billfish_tools_use_candidate.
#include "api/plans.hpp"

#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/problem_arguments.hpp"
#include "billfish/billfish_tools.h"
#include "formats/plan_file.hpp"

namespace billfish::api {
namespace {

// More than a program ever has use for; what grows without end is a mistake that is better told.
constexpr std::size_t kMostPlans = 1'000'000;

// A file names implementations by words; those that this library does not know are no plans for it.
Result<std::vector<gemm::TunedPlan>> tuned_plans_of(const formats::PlanFile& file) {
  std::vector<gemm::TunedPlan> plans;
  plans.reserve(file.plans.size());
  for (const formats::FilePlan& entry : file.plans) {
    gemm::TunedPlan plan;
    plan.problem = {file.kind, file.architecture, file.multiprocessors, entry.weight,           entry.a,
                    entry.n,   entry.k,           entry.group,          entry.zeroed_workspace, entry.dependent_launch};
    plan.m_from = entry.m_from;
    plan.m_to = entry.m_to;
    gemm::Choice& choice = plan.choice;
    if (Status known = find_forced(entry.implementation.c_str(), choice.implementation); !known.ok()) {
      return bad_input(entry.where + ".plan: " + known.message());
    }
    if (choice.implementation->device != file.kind) {
      return bad_input(entry.where + ".plan.implementation is " + entry.implementation + ", which runs on another kind of device than " +
                       std::string(name_of(file.kind)));
    }
    choice.policy = entry.policy;
    choice.tile_m = entry.tile_m;
    choice.tile_n = entry.tile_n;
    choice.splits = entry.splits;
    choice.cluster = entry.cluster;
    choice.threads = entry.threads;
    choice.blocks = entry.blocks;
    for (std::size_t i = 0; i < entry.detail.size(); ++i) choice.detail[i] = entry.detail[i];
    plans.push_back(std::move(plan));
  }
  return Result<std::vector<gemm::TunedPlan>>(std::move(plans));
}

Result<std::vector<gemm::TunedPlan>> read_plans(const char* path) {
  const Result<formats::PlanFile> file = formats::read_plan_file(path);
  if (!file.ok()) return file.status();
  return tuned_plans_of(*file);
}

struct Tables {
  std::mutex mutex;
  std::vector<gemm::TunedPlan> loaded;  // in the order of loading
  std::optional<gemm::TunedPlan> tried;
  PlanTable table;

  // The table first, so that whoever sees the new version finds it. With the mutex held.
  void publish() {
    std::vector<gemm::TunedPlan> all = loaded;
    if (tried) all.push_back(*tried);
    table = all.empty() ? nullptr : std::make_shared<const gemm::TunedPlans>(std::move(all));
    plans::version.fetch_add(1, std::memory_order_release);
  }
};
Tables& tables() {
  static Tables& all = *new Tables;  // for as long as any thread may multiply
  return all;
}

Status add(std::vector<gemm::TunedPlan> plans) {
  Tables& all = tables();
  const std::lock_guard lock(all.mutex);
  if (all.loaded.size() + plans.size() > kMostPlans) {
    return unsupported(std::to_string(all.loaded.size()) + " plans are loaded already; at most " + std::to_string(kMostPlans) +
                       " may be (billfish_load_plans(NULL) forgets them)");
  }
  all.loaded.insert(all.loaded.end(), std::make_move_iterator(plans.begin()), std::make_move_iterator(plans.end()));
  all.publish();
  return {};
}

Status load(const char* path) {
  (void)plans_version();  // the environment's come first, whenever this is called
  if (path == nullptr) {
    Tables& all = tables();
    const std::lock_guard lock(all.mutex);
    all.loaded.clear();
    all.publish();
    return {};
  }
  Result<std::vector<gemm::TunedPlan>> plans = read_plans(path);
  if (!plans.ok()) return plans.status();
  const std::size_t count = plans->size();
  BILLFISH_RETURN_IF_ERROR(add(std::move(*plans)));
  if (logging()) log(BILLFISH_LOG_INFO, "loaded " + std::to_string(count) + " plans from " + path);
  return {};
}

// What a tuning program asks about: a problem, a device, and the implementation it is about ("": all).
struct Question {
  gemm::Problem problem;
  gemm::DeviceFacts facts;
  std::string_view force;
};
Status read_question(const billfish_problem* given, const char* device, const char* implementation, Question& out) {
  BILLFISH_RETURN_IF_ERROR(read_problem(given, out.problem));
  const gemm::Implementation* forced = nullptr;
  BILLFISH_RETURN_IF_ERROR(find_forced(implementation, forced));
  const Result<gemm::DeviceFacts> facts = facts_named(device);
  if (!facts.ok()) return facts.status();
  out.facts = *facts;
  out.force = forced != nullptr ? forced->name : "";
  return {};
}

Status list(const billfish_problem* given, const char* device, const char* implementation, char* buffer, std::size_t capacity,
            std::size_t* length) {
  if (buffer == nullptr && capacity != 0) return null_argument("buffer");
  write_text("", buffer, capacity, length);
  Question asked;
  BILLFISH_RETURN_IF_ERROR(read_question(given, device, implementation, asked));
  const Result<std::string> text = gemm::list_candidates(asked.problem, asked.facts, asked.force);
  if (!text.ok()) return text.status();
  write_text(*text, buffer, capacity, length);
  return {};
}

Status use(const billfish_problem* given, const char* device, const char* implementation, std::int64_t index) {
  (void)plans_version();
  std::optional<gemm::TunedPlan> tried;
  if (index >= 0) {
    Question asked;
    BILLFISH_RETURN_IF_ERROR(read_question(given, device, implementation, asked));
    const std::vector<gemm::Plan> plans = gemm::candidates(asked.problem, asked.facts, asked.force);
    if (static_cast<std::size_t>(index) >= plans.size()) {
      return invalid_argument("index is " + std::to_string(index) + "; there are " + std::to_string(plans.size()) + " candidates for " +
                              gemm::describe(asked.problem));
    }
    tried = gemm::TunedPlan{gemm::tuned_problem_of(asked.problem, asked.facts), asked.problem.m, asked.problem.m,
                            gemm::choice_of(plans[static_cast<std::size_t>(index)])};
  }
  Tables& all = tables();
  const std::lock_guard lock(all.mutex);
  all.tried = std::move(tried);
  all.publish();
  return {};
}

}  // namespace

constinit std::atomic<std::uint64_t> plans::version{0};

void plans::look_at_environment() {
  std::string said;
  {
    Tables& all = tables();
    const std::lock_guard lock(all.mutex);
    if (version.load(std::memory_order_relaxed) != 0) return;
    if (const char* path = std::getenv("BILLFISH_PLANS"); path != nullptr && path[0] != '\0') {
      Result<std::vector<gemm::TunedPlan>> plans = read_plans(path);
      if (plans.ok()) {
        all.loaded = std::move(*plans);
      } else {
        said = "the environment variable BILLFISH_PLANS is passed over: " + plans.status().message();
      }
    }
    all.publish();
  }
  if (!said.empty()) log(BILLFISH_LOG_WARNING, said);  // without the lock: the callback may call the library
}

PlanTable current_plans() {
  (void)plans_version();
  Tables& all = tables();
  const std::lock_guard lock(all.mutex);
  return all.table;
}

}  // namespace billfish::api

extern "C" {

billfish_status billfish_load_plans(const char* path) {
  return billfish::api::guarded([&] { return billfish::api::load(path); });
}

billfish_status billfish_tools_candidates(const billfish_problem* problem, const char* device, const char* implementation, char* buffer,
                                          size_t capacity, size_t* length) {
  return billfish::api::guarded([&] { return billfish::api::list(problem, device, implementation, buffer, capacity, length); });
}

billfish_status billfish_tools_use_candidate(const billfish_problem* problem, const char* device, const char* implementation,
                                             int64_t index) {
  return billfish::api::guarded([&] { return billfish::api::use(problem, device, implementation, index); });
}

}  // extern "C"
