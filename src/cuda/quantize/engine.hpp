// SPDX-License-Identifier: Apache-2.0
// Quantising on a CUDA device: the engine of quantize/engine.hpp with cuBLAS, cuSOLVER and kernels of our own. Plain C++; called by api/.
// A build without CUDA answers with what is missing (cuda/absent.cpp).
//
//   libraries.cpp  cuBLAS and cuSOLVER, found at run time
//   engine.cu      memory, products, the factor; engine_panels.cu  what is done to panels
//   elements.cuh   kernels that go through matrices; grids.cuh, columns.cuh  through panels
#pragma once

#include <memory>

#include "core/status.hpp"
#include "quantize/engine.hpp"

namespace billfish::cuda {

// For one job: it frees its memory when it goes. The same input gives the same bits from run to run on one device.
// Fails, with what to do, where there is no such device, an old one, or no cuBLAS or cuSOLVER.
Result<std::unique_ptr<quantize::Engine>> quantize_engine(int device_index);

}  // namespace billfish::cuda
