// SPDX-License-Identifier: Apache-2.0
// Devices that are here: how many, what they can do (asked once, cached without locks), and loading every kernel ahead of time.
// Called by api/; calls the prepare functions of both families.
#include "cuda/cuda.hpp"
#include "cuda/families.hpp"
#include "cuda/sm90/gather.hpp"
#include "cuda/sm90/stream_plan.hpp"
#include "cuda/host.hpp"

namespace billfish::cuda {
namespace {

// state: 0 nobody asked, 1 somebody writes `facts`, 2 `facts` can be read.
struct CachedFacts {
  std::atomic<int> state{0};
  gemm::DeviceFacts facts;
};
CachedFacts cached[kMaxDevices];

Result<gemm::DeviceFacts> ask(int device_index) {
  int major = 0, minor = 0, multiprocessors = 0, shared_bytes = 0;
  cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_index);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device_index);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device_index);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device_index);
  if (error != cudaSuccess) return status_of(error, "asking for the device's attributes");
  gemm::DeviceFacts facts;
  facts.kind = DeviceKind::cuda;
  facts.architecture = 10 * major + minor;
  facts.multiprocessors = multiprocessors;
  facts.shared_bytes_per_block = shared_bytes;
  return facts;
}

}  // namespace

Status status_of(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  (void)cudaGetLastError();
  const Code code = error == cudaErrorMemoryAllocation ? Code::out_of_memory : Code::device_error;
  return {code, std::string(what) + ": " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) + ")"};
}

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  return count < kMaxDevices ? count : kMaxDevices;
}

Result<gemm::DeviceFacts> facts(int device_index) {
  if (device_index >= 0 && device_index < kMaxDevices && cached[device_index].state.load(std::memory_order_acquire) == 2) {
    return cached[device_index].facts;
  }
  const int count = device_count();
  if (device_index < 0 || device_index >= count) {
    return device_error("device index is " + std::to_string(device_index) + "; this machine has " + std::to_string(count) +
                        " CUDA devices" + (count > 0 ? ", counted from 0" : ""));
  }
  Result<gemm::DeviceFacts> asked = ask(device_index);
  int nobody = 0;
  if (asked.ok() && cached[device_index].state.compare_exchange_strong(nobody, 1)) {
    cached[device_index].facts = *asked;
    cached[device_index].state.store(2, std::memory_order_release);
  }
  return asked;
}

Status prepare(int device_index) {
  const Result<gemm::DeviceFacts> here = facts(device_index);
  if (!here.ok()) return here.status();
  const DeviceGuard guard(device_index);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  if (here->architecture < 80) {
    return unsupported("device " + std::to_string(device_index) + " is sm_" + std::to_string(here->architecture) +
                       "; sm_80 and later are supported");
  }
  BILLFISH_RETURN_IF_ERROR(mma::prepare(device_index));
  if (here->architecture / 10 == 9) {
    BILLFISH_RETURN_IF_ERROR(wgmma::prepare(device_index));
    BILLFISH_RETURN_IF_ERROR(stream::prepare(device_index));
    BILLFISH_RETURN_IF_ERROR(gather::prepare(device_index));
  }
  return {};
}

}  // namespace billfish::cuda
