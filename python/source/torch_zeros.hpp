// SPDX-License-Identifier: Apache-2.0
// Workspaces that were set to zeros once (BILLFISH_GEMM_ZEROED_WORKSPACE), for products of few rows on CUDA. Called by torch_operators.cpp
// and torch_eager.cpp.
#pragma once

#include <cstddef>

#include "billfish/billfish.h"

namespace billfish_python {

// What a product would do with zeros.
struct ZerosAsked {
  bool wanted = false;    // it is faster with them
  std::size_t bytes = 0;  // how many it takes
};
ZerosAsked ask_for_zeros(const billfish_weights& weights, billfish_gemm_args args);

// Workspace and flag of a call that is enqueued on `stream` next, torch's current one on that device. False: none are to be had or
// wanted, and the arguments are as they were. Any thread.
bool use_zeros(const ZerosAsked& asked, const billfish_weights& weights, billfish_gemm_args& args, void* stream);

}  // namespace billfish_python
