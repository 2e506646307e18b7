// SPDX-License-Identifier: Apache-2.0
// What every host half that calls the CUDA runtime needs: runtime errors as Status, the guard that leaves the current device as it was,
// and the once-per-device preparation of kernels. Included by .cu files only; called by both families, repack/ and measure/.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "core/status.hpp"

namespace billfish::cuda {

constexpr int kMaxDevices = 64;  // per-device tables; devices beyond are refused

// Ok, or device_error ("<what>: <the runtime's words>"), out_of_memory for allocations. Clears the runtime's last error, so that the
// caller's own checks do not see ours.
Status status_of(cudaError_t error, const char* what);

// Makes a device current for a scope.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    error_ = cudaGetDevice(&previous_);
    if (error_ == cudaSuccess && previous_ != device) {
      error_ = cudaSetDevice(device);
      restore_ = error_ == cudaSuccess;
    }
  }
  ~DeviceGuard() {
    if (restore_) (void)cudaSetDevice(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;
  Status status() const { return error_ == cudaSuccess ? Status() : status_of(error_, "making the device current"); }

 private:
  int previous_ = 0;
  bool restore_ = false;
  cudaError_t error_ = cudaSuccess;
};

// Which of up to kMost kernels have been prepared on which device. Lock-free: two threads may prepare the same kernel, harmlessly.
class PreparedKernels {
 public:
  static constexpr int kMost = 128;  // kernels of a family
  bool is_ready(int device, int index) const { return (done_[device][index / 64].load(std::memory_order_acquire) & bit(index)) != 0; }
  // Loads `kernel` into the current device and allows it `shared_bytes` of dynamic shared memory, unless that was done before.
  Status ensure(int device, int index, const void* kernel, std::int64_t shared_bytes) {
    if (is_ready(device, index)) return {};
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    cudaFuncAttributes attributes;
    if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, kernel);  // loads a lazily loaded module
    if (error != cudaSuccess) return status_of(error, "preparing a kernel");
    done_[device][index / 64].fetch_or(bit(index), std::memory_order_release);
    return {};
  }

 private:
  static constexpr std::uint64_t bit(int index) { return std::uint64_t{1} << index % 64; }
  std::atomic<std::uint64_t> done_[kMaxDevices][kMost / 64] = {};
};

}  // namespace billfish::cuda
