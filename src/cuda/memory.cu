// SPDX-License-Identifier: Apache-2.0
// Device memory for tools and tests (memory.hpp). Calls the CUDA runtime.
#include "cuda/memory.hpp"

#include "cuda/cuda.hpp"
#include "cuda/host.hpp"

namespace billfish::cuda {

Result<void*> allocate(int device_index, std::size_t bytes) {
  if (const auto here = facts(device_index); !here.ok()) return here.status();
  const DeviceGuard guard(device_index);
  if (Status status = guard.status(); !status.ok()) return status;
  void* memory = nullptr;
  if (bytes == 0) return memory;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error != cudaSuccess) return status_of(error, ("allocating " + std::to_string(bytes) + " bytes of device memory").c_str());
  return memory;
}

void free_memory(int device_index, void* memory) {
  if (memory == nullptr) return;
  const DeviceGuard guard(device_index);
  if (cudaFree(memory) != cudaSuccess) (void)cudaGetLastError();
}

Status copy(int device_index, void* target, const void* source, std::size_t bytes, CopyKind kind) {
  if (const auto here = facts(device_index); !here.ok()) return here.status();
  const DeviceGuard guard(device_index);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  constexpr cudaMemcpyKind kinds[] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice};
  BILLFISH_RETURN_IF_ERROR(status_of(cudaMemcpy(target, source, bytes, kinds[static_cast<int>(kind)]), "copying"));
  return kind == CopyKind::within_device ? status_of(cudaDeviceSynchronize(), "copying") : Status();
}

Status synchronize(int device_index) {
  if (const auto here = facts(device_index); !here.ok()) return here.status();
  const DeviceGuard guard(device_index);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  return status_of(cudaDeviceSynchronize(), "waiting for the device");
}

Result<std::string> device_name(int device_index) {
  if (const auto here = facts(device_index); !here.ok()) return here.status();
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device_index);
  if (error != cudaSuccess) return status_of(error, "asking for the device's name");
  return std::string(properties.name);
}

}  // namespace billfish::cuda
