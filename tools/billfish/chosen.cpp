// SPDX-License-Identifier: Apache-2.0
#include "chosen.hpp"

#include <cstdlib>

#include "billfish/billfish.hpp"
#include "json.hpp"

namespace billfish::cli {

std::string chosen_implementation(const billfish_weights& weights, const ProductOptions& options, std::int64_t m) {
  if (m == 0) return "";  // nothing to run
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = m;
  problem.n = weights.n;
  problem.k = weights.k;
  problem.group = weights.group;
  problem.type = weights.type;
  problem.a_type = options.a_type;
  problem.c_type = options.c_type;
  problem.scale_type = weights.scale_type;
  problem.precision = options.precision;
  problem.flags = options.bias ? 0 : BILLFISH_GEMM_NO_BIAS;
  problem.act_order = weights.perm != nullptr;
  problem.bias = weights.bias != nullptr && options.bias;
  problem.wide_scales = (weights.flags & BILLFISH_WEIGHTS_WIDE_SCALES) != 0;
  const char* forced = options.implementation.empty() ? std::getenv("BILLFISH_FORCE") : options.implementation.c_str();
  if (forced != nullptr && *forced == '\0') forced = nullptr;
  const std::string text = billfish::explain(problem, options.device.kind == BILLFISH_CPU ? "cpu" : "cuda", true, forced);
  const Json explained = parse_json(text);
  if (!explained.is_object()) return "";
  for (const Json& candidate : explained.value("candidates", Json::array())) {
    if (candidate.value("chosen", false)) return candidate.value("name", "");
  }
  return "";
}

}  // namespace billfish::cli
