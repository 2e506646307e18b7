// SPDX-License-Identifier: Apache-2.0
// The arguments of a product -> Problem and Call, checked. Shared by billfish_gemm, its workspace query and the oracle.
#pragma once

#include "api/arguments.hpp"
#include "gemm/registry.hpp"

namespace billfish::api {

struct GemmCall {
  PackedMatrix weights;
  gemm::Problem problem;
  gemm::Call call;  // its `weights` points into this struct
  const gemm::Implementation* forced = nullptr;
  ElementType a_type = ElementType::f32;
  GemmCall() = default;
  GemmCall(const GemmCall&) = delete;  // because of that pointer
};

// What a caller uses of the arguments decides which of them must be there.
enum class Uses { everything, shape_only, inputs_only };
Status read_gemm(const billfish_weights* weights, const billfish_gemm_args* args, Uses uses, GemmCall& out);

// A name -> the implementation, null for none. The environment variable BILLFISH_FORCE, read once, stands in for a missing name.
Status find_forced(const char* name, const gemm::Implementation*& out);

// Facts of a device that is here.
Result<gemm::DeviceFacts> facts_of(const Device& device);

}  // namespace billfish::api
