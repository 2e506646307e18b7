// SPDX-License-Identifier: Apache-2.0
// The one plan of a given variant and number of splits or of equal shares; wgmma::plan picks among them, tuning programs try them all.
#pragma once

#include "gemm/problem.hpp"

namespace billfish::cuda::wgmma {

gemm::Plan plan_of(const gemm::Problem&, const gemm::DeviceFacts&, int policy, int splits);
// Without a cluster's split: so many blocks share what does not make whole rounds of tiles; needs a workspace of zeros.
gemm::Plan shared_plan_of(const gemm::Problem&, const gemm::DeviceFacts&, int policy, std::int64_t blocks);

}  // namespace billfish::cuda::wgmma
