// SPDX-License-Identifier: Apache-2.0
// The CUDA backend's doorway. Plain C++: the two families' why_not and plan compile without nvcc, their run only with it (a build
// without CUDA answers `unsupported`, see cuda/absent.cpp).
#pragma once

#include <string_view>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "gemm/problem.hpp"

namespace billfish::gemm {
struct Implementation;
}

namespace billfish::cuda {

extern const gemm::Implementation sm80;  // mma.sync, cp.async: 8.0 and later
extern const gemm::Implementation sm90;  // wgmma, bulk copies, clusters: 9.0

// Devices here; 0 without a driver. Never fails.
int device_count();
Result<gemm::DeviceFacts> facts(int device_index);  // cached after the first call
gemm::DeviceFacts typical_facts(int architecture);  // 80 -> an A100, 90 -> an H200, ...: for `explain` without a GPU
Status prepare(int device_index);                   // load every kernel, set its attributes

// Marlin bytes on the device, enqueued on `stream`. Same bytes as pack::pack on the CPU. In place is allowed where the sizes match.
Status pack(const QuantizedMatrix& source, PackedMatrix& target, void* stream);

}  // namespace billfish::cuda
