// SPDX-License-Identifier: Apache-2.0
// billfish_tools_cuda_{facts,figures,timer_*}, billfish_tools_range_*: measure/ behind the ABI.
#include <cstring>
#include <memory>
#include <string>

#include "api/arguments.hpp"
#include "billfish/billfish_tools.h"
#include "measure/cuda_measure.hpp"
#include "measure/driver.hpp"

struct billfish_cuda_timer {
  billfish::measure::cuda::Timer* timer;
};

namespace billfish::api {
namespace {

Status read_facts(int device, billfish_cuda_facts* out) {
  BILLFISH_RETURN_IF_ERROR(check_size(out, "out"));
  const Result<measure::DriverFacts> asked = measure::driver_facts(device);
  if (!asked.ok()) return asked.status();
  const measure::DriverFacts& facts = *asked;
  billfish_cuda_facts filled = BILLFISH_CUDA_FACTS_INIT;
  write_text(facts.name, filled.name, sizeof filled.name, nullptr);
  write_text(measure::cuda::driver_version(), filled.driver, sizeof filled.driver, nullptr);
  filled.driver_cuda = facts.driver_cuda;
  filled.runtime_cuda = measure::cuda::runtime_version();
  filled.major = facts.major;
  filled.minor = facts.minor;
  filled.multiprocessors = facts.multiprocessors;
  filled.clock_mhz = facts.clock_mhz;
  filled.memory_clock_mhz = facts.memory_clock_mhz;
  filled.memory_bus_bits = facts.memory_bus_bits;
  filled.memory_bytes = facts.memory_bytes;
  filled.l2_bytes = facts.l2_bytes;
  filled.shared_per_sm = facts.shared_per_sm;
  filled.shared_per_block = facts.shared_per_block;
  filled.shared_reserved = facts.shared_reserved;
  filled.registers_per_sm = facts.registers_per_sm;
  filled.threads_per_sm = facts.threads_per_sm;
  filled.blocks_per_sm = facts.blocks_per_sm;
  filled.threads_per_block = facts.threads_per_block;
  write_struct(filled, out);
  return {};
}

Status read_figures(int device, billfish_cuda_figures* out) {
  BILLFISH_RETURN_IF_ERROR(check_size(out, "out"));
  const Result<measure::cuda::Figures> measured = measure::cuda::figures(device);
  if (!measured.ok()) return measured.status();
  const measure::cuda::Figures& f = *measured;
  const billfish_cuda_figures filled = {sizeof filled, f.read_gbps, f.copy_gbps, f.l2_gbps,       f.shared_gbps, f.memory_ns,
                                        f.l2_ns,       f.launch_us, f.graph_us,  f.round_trip_us, f.mma_tflops,  f.wgmma_tflops};
  write_struct(filled, out);
  return {};
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_tools_cuda_facts(int device, billfish_cuda_facts* out) {
  return billfish::api::guarded([&] { return billfish::api::read_facts(device, out); });
}

billfish_status billfish_tools_cuda_figures(int device, billfish_cuda_figures* out) {
  return billfish::api::guarded([&] { return billfish::api::read_figures(device, out); });
}

billfish_status billfish_tools_cuda_timer_create(int device, billfish_cuda_timer** out) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    if (out == nullptr) return api::null_argument("out");
    *out = nullptr;
    auto handle = std::make_unique<billfish_cuda_timer>();
    const Result<measure::cuda::Timer*> timer = measure::cuda::create_timer(device);
    if (!timer.ok()) return timer.status();
    handle->timer = *timer;
    *out = handle.release();
    return {};
  });
}

void billfish_tools_cuda_timer_free(billfish_cuda_timer* timer) {
  if (timer == nullptr) return;
  (void)billfish::api::guarded([&] {
    billfish::measure::cuda::destroy_timer(timer->timer);
    return billfish::Status();
  });
  delete timer;
}

billfish_status billfish_tools_cuda_timer_start(billfish_cuda_timer* timer, void* stream) {
  using namespace billfish;
  return api::guarded([&] { return timer == nullptr ? api::null_argument("timer") : measure::cuda::start_timer(timer->timer, stream); });
}

billfish_status billfish_tools_cuda_timer_stop(billfish_cuda_timer* timer, void* stream) {
  using namespace billfish;
  return api::guarded([&] { return timer == nullptr ? api::null_argument("timer") : measure::cuda::stop_timer(timer->timer, stream); });
}

billfish_status billfish_tools_cuda_timer_seconds(billfish_cuda_timer* timer, double* seconds) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    if (timer == nullptr) return api::null_argument("timer");
    if (seconds == nullptr) return api::null_argument("seconds");
    const Result<double> measured = measure::cuda::timer_seconds(timer->timer);
    if (!measured.ok()) return measured.status();
    *seconds = *measured;
    return {};
  });
}

void billfish_tools_range_push(const char* name) { billfish::measure::cuda::push_range(name != nullptr ? name : ""); }
void billfish_tools_range_pop(void) { billfish::measure::cuda::pop_range(); }

}  // extern "C"
