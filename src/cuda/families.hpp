// SPDX-License-Identifier: Apache-2.0
// The two kernel families as functions. why_not, plan and candidates are plain C++ (sm80/mma_plan.cpp, sm90/wgmma_plan.cpp) and exist in
// every build; run and prepare need nvcc (*_launch.cu) and are answered by absent.cpp without it.
// Called by device.cu and by the gemm::Implementation objects, which live beside the plans.
#pragma once

#include <string>
#include <vector>

#include "core/status.hpp"
#include "gemm/problem.hpp"

namespace billfish::cuda {

namespace mma {  // sm80/
std::string why_not(const gemm::Problem&, const gemm::DeviceFacts&);
gemm::Plan plan(const gemm::Problem&, const gemm::DeviceFacts&);
std::vector<gemm::Plan> candidates(const gemm::Problem&, const gemm::DeviceFacts&);
Status run(const gemm::Plan&, const gemm::Problem&, const gemm::Call&);
Status prepare(int device_index);  // the current device: load every kernel, raise its shared memory limit
}  // namespace mma

namespace wgmma {  // sm90/
std::string why_not(const gemm::Problem&, const gemm::DeviceFacts&);
gemm::Plan plan(const gemm::Problem&, const gemm::DeviceFacts&);
std::vector<gemm::Plan> candidates(const gemm::Problem&, const gemm::DeviceFacts&);
Status run(const gemm::Plan&, const gemm::Problem&, const gemm::Call&);
Status prepare(int device_index);  // the current device; does nothing where it is not of that architecture
}  // namespace wgmma

}  // namespace billfish::cuda
