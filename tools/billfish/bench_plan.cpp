// SPDX-License-Identifier: Apache-2.0
#include "bench_plan.hpp"

#include <vector>

#include "errors.hpp"
#include "json.hpp"

namespace billfish::cli {

std::vector<std::string> implementations_for(const BenchOptions& options) {
  if (!options.every_implementation) return {options.implementation};
  std::vector<std::string> names;
  for (int i = 0; i < billfish_implementation_count(); ++i) {
    billfish_implementation_info info = BILLFISH_IMPLEMENTATION_INFO_INIT;
    check(billfish_implementation(i, &info));
    if (info.device_kind == options.device.kind && info.available != 0) names.emplace_back(info.name);
  }
  return names;
}

BenchPlan chosen_plan(const BenchOptions& options, const std::string& implementation, std::int64_t m, std::int64_t n, std::int64_t k,
                      billfish_precision precision, billfish_element_type c_type, bool dependent) {
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = m;
  problem.n = n;
  problem.k = k;
  problem.group = options.group;
  problem.type = options.type;
  problem.a_type = options.act;
  problem.c_type = c_type;
  problem.scale_type = options.act == BILLFISH_BF16 ? BILLFISH_BF16 : BILLFISH_F16;
  problem.precision = precision;
  problem.act_order = options.act_order;
  problem.flags = (dependent ? std::uint32_t{BILLFISH_GEMM_DEPENDENT_LAUNCH} : 0u) |
                  (options.batch_invariant ? std::uint32_t{BILLFISH_GEMM_BATCH_INVARIANT} : 0u) |
                  (implementation != "sm80" ? std::uint32_t{BILLFISH_GEMM_ZEROED_WORKSPACE} : 0u);
  problem.threads = options.threads;
  problem.workspace_bytes = options.no_workspace ? 0 : -1;
  std::vector<char> text(1 << 15);
  std::size_t length = 0;
  check(billfish_explain(&problem, options.device.kind == BILLFISH_CPU ? "cpu" : "cuda",
                         implementation.empty() ? nullptr : implementation.c_str(), 1, text.data(), text.size(), &length));
  BenchPlan chosen;
  const Json json = parse_json({text.data(), std::min(length, text.size() - 1)});
  if (!json.is_object() || !json.contains("plan") || !json["plan"].is_object()) return chosen;
  for (const auto& [key, value] : json["plan"].items()) {
    if (key == "implementation") {
      chosen.implementation = value.get<std::string>();
    } else if (key == "policy") {
      chosen.text = value.get<std::string>();
    } else if (key == "dependent_launch") {
      chosen.dependent_launch = value.get<bool>();
    } else if (value.is_number_integer() && value.get<std::int64_t>() != 0) {
      chosen.text += (chosen.text.empty() ? "" : " ") + key + "=" + std::to_string(value.get<std::int64_t>());
    }
  }
  return chosen;
}

}  // namespace billfish::cli
