// SPDX-License-Identifier: Apache-2.0
// The one plan of a given variant and number of splits; wgmma::plan picks among them, tuning programs try them all.
#pragma once

#include "gemm/problem.hpp"

namespace billfish::cuda::wgmma {

gemm::Plan plan_of(const gemm::Problem&, const gemm::DeviceFacts&, int policy, int splits);

}  // namespace billfish::cuda::wgmma
