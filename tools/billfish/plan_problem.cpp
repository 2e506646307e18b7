// SPDX-License-Identifier: Apache-2.0
#include "plan_problem.hpp"

#include "errors.hpp"
#include "types.hpp"

namespace billfish::cli {

void add_plan_options(Arguments& arguments, PlanWords& words) {
  arguments.add_option("--m", words.m, "Rows of activations").value_name("M");
  arguments.add_option("--n", words.n, "Columns of the weights").value_name("N");
  arguments.add_option("--k", words.k, "Rows of the weights").value_name("K");
  arguments.add_option("--type", words.type, "u4b8, u4, u8b128 or u8").show_default().value_name("TYPE");
  arguments.add_option("--group", words.group, "Codes along K that share a scale; -1: all of K").show_default().value_name("G");
  arguments.add_option("--act", words.act, "Type of activations: f16 or bf16").show_default().value_name("TYPE");
  arguments.add_option("--device", words.architecture, "sm_80, sm_90, ...; that of the device's facts if not given").value_name("DEVICE");
  arguments.add_option("--implementation", words.implementation, "Force one by name").value_name("NAME");
  arguments.add_flag("--zeroed-workspace", words.zeroed_workspace,
                     "The plan of a caller whose workspace was set to zeros once (BILLFISH_GEMM_ZEROED_WORKSPACE)");
}

billfish_problem problem_of(const PlanWords& words) {
  if (words.m < 1 || words.n < 1 || words.k < 1) {
    fail(kUsage, "--m, --n and --k are all needed, each 1 or more");
  }
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = words.m;
  problem.n = words.n;
  problem.k = words.k;
  problem.group = words.group;
  problem.type = parse_weight_type(words.type);
  problem.a_type = problem.c_type = parse_element_type(words.act, "--act");
  problem.scale_type = problem.a_type == BILLFISH_BF16 ? BILLFISH_BF16 : BILLFISH_F16;
  problem.flags = BILLFISH_GEMM_DEPENDENT_LAUNCH | (words.zeroed_workspace ? std::uint32_t{BILLFISH_GEMM_ZEROED_WORKSPACE} : 0u);
  return problem;
}

std::string device_of(const PlanWords& words, int major, int minor) {
  return words.architecture.empty() ? fmt::format("sm_{}{}", major, minor) : words.architecture;
}

billfish_plan_details plan_of(const PlanWords& words, const std::string& device) {
  const billfish_problem problem = problem_of(words);
  billfish_plan_details details = BILLFISH_PLAN_DETAILS_INIT;
  check(billfish_tools_plan(&problem, device.c_str(), words.implementation.empty() ? nullptr : words.implementation.c_str(), &details));
  return details;
}

std::string text_of(const PlanWords& words) {
  return fmt::format("m={} n={} k={} {} group {} {}{}", words.m, words.n, words.k, words.type, words.group, words.act,
                     words.zeroed_workspace ? ", zeroed workspace" : "");
}

}  // namespace billfish::cli
