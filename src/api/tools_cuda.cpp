// SPDX-License-Identifier: Apache-2.0
// billfish_tools_cuda_{devices,name,allocate,free,copy,synchronize}: device memory for tools and tests.
#include <cstddef>
#include <string>

#include "api/arguments.hpp"
#include "billfish/billfish_tools.h"
#include "cuda/cuda.hpp"
#include "cuda/memory.hpp"

extern "C" {

int billfish_tools_cuda_devices(void) {
  int count = 0;
  (void)billfish::api::guarded([&] {
    count = billfish::cuda::device_count();
    return billfish::Status();
  });
  return count;
}

billfish_status billfish_tools_cuda_name(int device, char* buffer, size_t capacity) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    if (buffer == nullptr) return api::null_argument("buffer");
    const Result<std::string> name = cuda::device_name(device);
    if (!name.ok()) return name.status();
    api::write_text(*name, buffer, capacity, nullptr);
    return {};
  });
}

billfish_status billfish_tools_cuda_allocate(int device, size_t bytes, void** out) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    if (out == nullptr) return api::null_argument("out");
    *out = nullptr;
    const Result<void*> memory = cuda::allocate(device, bytes);
    if (!memory.ok()) return memory.status();
    *out = *memory;
    return {};
  });
}

void billfish_tools_cuda_free(int device, void* memory) {
  (void)billfish::api::guarded([&] {
    billfish::cuda::free_memory(device, memory);
    return billfish::Status();
  });
}

billfish_status billfish_tools_cuda_copy(int device, void* target, const void* source, size_t bytes, int kind) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    if (kind < 0 || kind > 2) {
      return invalid_argument("kind is " + std::to_string(kind) + "; known are 0 (to the device), 1 (from it), 2 (within it)");
    }
    if (bytes == 0) return {};
    if (target == nullptr) return api::null_argument("target");
    if (source == nullptr) return api::null_argument("source");
    return cuda::copy(device, target, source, bytes, static_cast<cuda::CopyKind>(kind));
  });
}

billfish_status billfish_tools_cuda_synchronize(int device) {
  return billfish::api::guarded([&] { return billfish::cuda::synchronize(device); });
}

}  // extern "C"
