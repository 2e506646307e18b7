// SPDX-License-Identifier: Apache-2.0
// The options that name a problem for pictures of its plan: --m --n --k --type --group --act --device ... Called by gpu_kernel_config.cpp,
// show_plan.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "arguments.hpp"
#include "billfish/billfish_tools.h"

namespace billfish::cli {

struct PlanWords {
  std::int64_t m = 0, n = 0, k = 0, group = 128;
  std::string type = "u4b8", act = "f16", architecture, implementation;
  bool zeroed_workspace = false;
};
void add_plan_options(Arguments& arguments, PlanWords& words);

billfish_problem problem_of(const PlanWords& words);
// "sm_90": what was asked for, or that of the facts.
std::string device_of(const PlanWords& words, int major, int minor);
billfish_plan_details plan_of(const PlanWords& words, const std::string& device);
// "m=16 n=4096 k=4096 u4b8 group 128 f16"
std::string text_of(const PlanWords& words);

}  // namespace billfish::cli
