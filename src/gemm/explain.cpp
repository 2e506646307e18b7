// SPDX-License-Identifier: Apache-2.0
// Who would run a problem and why, for a person or as JSON; and all plans that could. Called by api/; calls registry.cpp and
// tuned_plans.cpp only, so that what it says is what choose_plan does.
#include <string>
#include <string_view>
#include <vector>

#include "gemm/json_text.hpp"
#include "gemm/registry.hpp"
#include "gemm/tuned_plans.hpp"

namespace billfish::gemm {
namespace {

constexpr const char* kFirstHops[] = {"billfish_gemm (api/gemm.cpp)", "gemm::choose_plan (gemm/registry.cpp)"};

struct Candidate {
  const Implementation* implementation;
  std::string reason;  // empty: it can
  bool chosen;
};

// A plan as names and values, in the order in which both outputs print them. Zeros are left out of the text.
struct Field {
  const char* name;
  std::int64_t value;
};

std::vector<Candidate> candidates_for(const Problem& problem, const DeviceFacts& facts, std::string_view force,
                                      const Implementation* chosen) {
  std::vector<Candidate> candidates;
  for (const Implementation* implementation : implementations()) {
    candidates.push_back({implementation, refusal(*implementation, problem, facts, force), implementation == chosen});
  }
  return candidates;
}

std::vector<Field> fields_of(const Plan& plan) {
  std::vector<Field> fields = {
      {"tile_m", plan.tile_m},
      {"tile_n", plan.tile_n},
      {"tile_k", plan.tile_k},
      {"stages", plan.stages},
      {"splits", plan.splits},
      {"cluster", plan.cluster},
      {"threads", plan.threads},
      {"blocks", plan.blocks},
      {"shared_bytes", plan.shared_bytes},
      {"workspace_bytes", plan.workspace_bytes},
      {"longest_sum", plan.chain},
  };
  if (plan.gather_offset >= 0) fields.push_back({"gather_offset", plan.gather_offset});
  for (int i = 0; i < 4; ++i) {
    if (plan.implementation->detail_names[i] != nullptr) fields.push_back({plan.implementation->detail_names[i], plan.detail[i]});
  }
  return fields;
}

std::vector<const char*> hops_of(const Implementation& implementation) {
  std::vector<const char*> hops(std::begin(kFirstHops), std::end(kFirstHops));
  for (const char* hop : implementation.hops) {
    if (hop != nullptr) hops.push_back(hop);
  }
  return hops;
}

std::string as_text(const Problem& problem, const DeviceFacts& facts, const std::vector<Candidate>& candidates, const Result<Plan>& plan,
                    bool tuned) {
  std::string text = "problem     " + describe(problem) + "\ndevice      " + describe(facts) + "\ncandidates, in order of preference\n";
  for (const Candidate& candidate : candidates) {
    std::string line = std::string("  ") + candidate.implementation->name;
    line.resize(14, ' ');
    if (candidate.chosen) {
      line += tuned ? "yes  chosen by the loaded plans" : "yes  chosen";
    } else if (candidate.reason.empty()) {
      line += tuned ? "yes  but another one is chosen" : "yes  but a preferred one can";
    } else {
      line += "no   " + candidate.reason;
    }
    text += line + "\n";
  }
  if (!plan.ok()) return text + "plan        none: " + plan.status().message() + "\n";
  text += std::string("plan        ") + plan->implementation->name;
  if (plan->policy_name[0] != '\0') text += std::string(" ") + plan->policy_name;
  for (const Field& field : fields_of(*plan)) {
    if (field.value != 0) text += std::string(" ") + field.name + "=" + std::to_string(field.value);
  }
  text += plan->dependent_launch ? " dependent_launch" : "";
  text += tuned ? ", of the loaded plans\n" : "\n";
  std::string arrow = "chain       ";
  for (const char* hop : hops_of(*plan->implementation)) {
    text += arrow + hop + "\n";
    arrow = "         -> ";
  }
  return text;
}

void write_problem(JsonText& json, const Problem& problem) {
  json.key("problem");
  json.open('{');
  json.member("m", problem.m);
  json.member("n", problem.n);
  json.member("k", problem.k);
  json.member("group", problem.group);
  json.member("type", name_of(problem.weight));
  json.member("a_type", name_of(problem.a));
  json.member("c_type", name_of(problem.c));
  json.member("scale_type", name_of(problem.scale));
  json.member("precision", name_of(problem.precision));
  json.member("act_order", problem.act_order);
  json.member("uneven_groups", problem.uneven_groups);
  json.member("bias", problem.bias);
  json.member("wide_scales", problem.wide_scales);
  json.member("batch_invariant", problem.batch_invariant);
  json.member("dependent_launch", problem.dependent_launch);
  json.member("zeroed_workspace", problem.zeroed_workspace);
  json.member("aligned_a", problem.aligned_a);
  json.member("aligned_c", problem.aligned_c);
  json.member("threads", problem.threads);
  json.member("workspace_bytes", problem.workspace_bytes);
  json.close('}');
}

void write_device(JsonText& json, const DeviceFacts& facts) {
  json.key("device");
  json.open('{');
  json.member("kind", name_of(facts.kind));
  if (facts.kind == DeviceKind::cuda) {
    json.member("architecture", facts.architecture);
    json.member("multiprocessors", facts.multiprocessors);
    json.member("shared_bytes_per_block", facts.shared_bytes_per_block);
  } else {
    json.member("avx2", facts.avx2);
    json.member("avx512", facts.avx512);
    json.member("avx512_vnni", facts.avx512_vnni);
    json.member("avx512_bf16", facts.avx512_bf16);
    json.member("amx", facts.amx);
  }
  json.close('}');
}

std::string as_json(const Problem& problem, const DeviceFacts& facts, const std::vector<Candidate>& candidates, const Result<Plan>& plan,
                    bool tuned) {
  JsonText json;
  json.open('{');
  json.member("schema", 1);
  write_problem(json, problem);
  write_device(json, facts);
  json.key("candidates");
  json.open('[');
  for (const Candidate& candidate : candidates) {
    json.open('{');
    json.member("name", candidate.implementation->name);
    json.member("device", name_of(candidate.implementation->device));
    json.member("can", candidate.reason.empty());
    json.member("chosen", candidate.chosen);
    json.member("reason", std::string_view(candidate.reason));
    json.close('}');
  }
  json.close(']');
  json.key("plan");
  if (!plan.ok()) {
    json.null();
    json.member("refusal", std::string_view(plan.status().message()));
    json.close('}');
    return json.take();
  }
  json.open('{');
  json.member("implementation", plan->implementation->name);
  json.member("policy", plan->policy_name);
  for (const Field& field : fields_of(*plan)) json.member(field.name, field.value);
  json.member("dependent_launch", plan->dependent_launch);
  json.member("tuned", tuned);
  json.close('}');
  json.key("chain");
  json.open('[');
  for (const char* hop : hops_of(*plan->implementation)) json.value(hop);
  json.close(']');
  json.close('}');
  return json.take();
}

// The members of a file's "plan": a Choice.
void write_choice(JsonText& json, const Choice& choice) {
  json.member("implementation", choice.implementation->name);
  json.member("policy", std::string_view(choice.policy));
  json.member("tile_m", choice.tile_m);
  json.member("tile_n", choice.tile_n);
  json.member("splits", choice.splits);
  json.member("cluster", choice.cluster);
  json.member("threads", choice.threads);
  json.member("blocks", choice.blocks);
  json.key("detail");
  json.open('[');
  for (const std::int64_t value : choice.detail) json.value(value);
  json.close(']');
}

}  // namespace

std::string explain(const Problem& problem, const DeviceFacts& facts, std::string_view force, bool json, const TunedPlans* tuned) {
  const Result<Plan> plan = choose_plan(problem, facts, force, tuned);
  const auto candidates = candidates_for(problem, facts, force, plan.ok() ? plan->implementation : nullptr);
  const bool found = tuned != nullptr && tuned->plan_for(problem, facts, force).has_value();
  return json ? as_json(problem, facts, candidates, plan, found) : as_text(problem, facts, candidates, plan, found);
}

Result<std::string> list_candidates(const Problem& problem, const DeviceFacts& facts, std::string_view force) {
  const Result<Plan> chosen = choose_plan(problem, facts, force);
  if (!chosen.ok()) return chosen.status();
  JsonText json;
  json.open('{');
  json.member("schema", 1);
  write_problem(json, problem);
  write_device(json, facts);
  json.key("candidates");
  json.open('[');
  for (const Plan& plan : candidates(problem, facts, force)) {
    json.open('{');
    json.key("plan");
    json.open('{');
    write_choice(json, choice_of(plan));
    json.close('}');
    json.member("workspace_bytes", plan.workspace_bytes);
    json.member("chosen", plan == *chosen);
    json.close('}');
  }
  json.close(']');
  json.close('}');
  return json.take();
}

}  // namespace billfish::gemm
