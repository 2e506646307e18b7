// SPDX-License-Identifier: Apache-2.0
// The streaming kernel as functions: few tokens, weights read once, every block an equal share. stream_plan.cpp is plain C++;
// stream_launch.cu needs nvcc, absent.cpp answers without it. Called by family.cpp and device.cu.
#pragma once

#include <vector>

#include "core/status.hpp"
#include "gemm/problem.hpp"

namespace billfish::cuda::stream {

// Whether it can run the problem (which the family accepts): few tokens, and a workspace of zeros where tiles are shared.
bool takes(const gemm::Problem&, const gemm::DeviceFacts&);
gemm::Plan plan(const gemm::Problem&, const gemm::DeviceFacts&);
// Dealt or not, whatever `takes` thinks of the power; none where it cannot run the problem at all.
std::vector<gemm::Plan> candidates(const gemm::Problem&, const gemm::DeviceFacts&);
// The one plan of a given variant and number of blocks, which are dealt to the tiles or share all items evenly; tuning programs try
// them all.
gemm::Plan plan_of(const gemm::Problem&, int policy, std::int64_t blocks, bool dealt);
Status run(const gemm::Plan&, const gemm::Problem&, const gemm::Call&);
Status prepare(int device_index);  // the current device; does nothing where it is not of that architecture

}  // namespace billfish::cuda::stream
