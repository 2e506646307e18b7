// SPDX-License-Identifier: Apache-2.0
// A billfish_problem and the name of a device -> Problem and DeviceFacts, checked. Shared by billfish_explain and billfish_tools_plan.
#pragma once

#include "api/gemm_arguments.hpp"

namespace billfish::api {

Status read_problem(const billfish_problem* given, gemm::Problem& out);

// "cpu", "cuda", "cuda:1", "sm_90", or null for the best device here.
Result<gemm::DeviceFacts> facts_named(const char* name);

}  // namespace billfish::api
