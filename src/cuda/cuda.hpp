// SPDX-License-Identifier: Apache-2.0
// The CUDA backend's doorway. Plain C++: the two families' why_not and plan compile without nvcc, their run only with it (a build
// without CUDA answers `unsupported`, see cuda/absent.cpp).
#pragma once

#include <cstdint>
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

// What packing on the device saw in data that the host cannot look at without waiting. Values match BILLFISH_FOUND_*.
enum Finding : std::uint32_t {
  kFoundWideScales = 1,
  kFoundBadScale = 0x100,
  kFoundBadZero = 0x200,
  kFoundBadCode = 0x400,
  kFoundBadOrder = 0x800,
};

// Marlin bytes on the device, enqueued on `stream`. Same bytes as pack::pack on the CPU. In place is allowed where the sizes match.
// target.wide_scales stays as it is. findings: a word of device memory that gets Finding bits, or null: data is not looked at. Groups
// that g_idx makes uneven are not supported on CUDA: their scales become NaN, so that no product is plausibly wrong.
Status pack(const QuantizedMatrix& source, PackedMatrix& target, std::uint32_t* findings, void* stream);

}  // namespace billfish::cuda
