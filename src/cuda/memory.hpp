// SPDX-License-Identifier: Apache-2.0
// Device memory for tools and tests; the library itself never allocates any. Plain C++; synchronous. Called by api/ (billfish_tools_cuda_*)
// and tests; implemented by memory.cu, or by absent.cpp in a build without CUDA.
#pragma once

#include <cstddef>
#include <string>

#include "core/status.hpp"

namespace billfish::cuda {

enum class CopyKind { to_device = 0, from_device = 1, within_device = 2 };

Result<void*> allocate(int device_index, std::size_t bytes);  // aligned to 256 bytes; 0 bytes gives nullptr
void free_memory(int device_index, void* memory);             // nullptr is a no-op
Status copy(int device_index, void* target, const void* source, std::size_t bytes, CopyKind kind);
Status synchronize(int device_index);
Result<std::string> device_name(int device_index);

}  // namespace billfish::cuda
