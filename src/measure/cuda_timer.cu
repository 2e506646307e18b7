// SPDX-License-Identifier: Apache-2.0
// Time between two points of a stream by events, and named ranges for an attached profiler (cuda_measure.hpp). Called by api/.
#include <cuda_runtime_api.h>
#include <nvtx3/nvToolsExt.h>

#include <memory>

#include "cuda/cuda.hpp"
#include "cuda/host.hpp"
#include "measure/cuda_measure.hpp"

namespace billfish::measure::cuda {

using billfish::cuda::DeviceGuard;
using billfish::cuda::status_of;

struct Timer {
  int device = 0;
  cudaEvent_t begin = nullptr, end = nullptr;
  ~Timer() {
    const DeviceGuard guard(device);
    if (begin != nullptr) (void)cudaEventDestroy(begin);
    if (end != nullptr) (void)cudaEventDestroy(end);
  }
};

namespace {

Status record(const Timer& timer, cudaEvent_t event, void* stream) {
  const DeviceGuard guard(timer.device);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  return status_of(cudaEventRecord(event, static_cast<cudaStream_t>(stream)), "recording an event");
}

}  // namespace

Result<Timer*> create_timer(int device) {
  if (const auto here = billfish::cuda::facts(device); !here.ok()) return here.status();
  const DeviceGuard guard(device);
  if (Status status = guard.status(); !status.ok()) return status;
  auto timer = std::make_unique<Timer>();
  timer->device = device;
  if (Status status = status_of(cudaEventCreate(&timer->begin), "creating an event"); !status.ok()) return status;
  if (Status status = status_of(cudaEventCreate(&timer->end), "creating an event"); !status.ok()) return status;
  return timer.release();
}
void destroy_timer(Timer* timer) { delete timer; }
Status start_timer(Timer* timer, void* stream) { return record(*timer, timer->begin, stream); }
Status stop_timer(Timer* timer, void* stream) { return record(*timer, timer->end, stream); }
Result<double> timer_seconds(Timer* timer) {
  const DeviceGuard guard(timer->device);
  if (Status status = guard.status(); !status.ok()) return status;
  if (Status status = status_of(cudaEventSynchronize(timer->end), "waiting for an event"); !status.ok()) return status;
  float milliseconds = 0;
  if (Status status = status_of(cudaEventElapsedTime(&milliseconds, timer->begin, timer->end), "reading an event"); !status.ok())
    return status;
  return milliseconds * 1e-3;
}

void push_range(const char* name) { (void)nvtxRangePushA(name); }
void pop_range() { (void)nvtxRangePop(); }

}  // namespace billfish::measure::cuda
