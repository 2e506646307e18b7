// SPDX-License-Identifier: Apache-2.0
// How blocks of threads fill a GPU: pure arithmetic over the device's facts. Called by gpu_kernel_config.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "gpu_facts.hpp"

namespace billfish::cli {

struct KernelConfig {
  std::int64_t blocks = 0;
  int threads = 0;             // of a block
  std::int64_t shared = 0;     // bytes of a block, without the driver's
  int registers = 0;           // of a thread; 0: not said, no limit
  std::int64_t in_flight = 0;  // bytes of loads that a block keeps under way
  int at_most = 0;             // blocks a multiprocessor that the kernel was compiled for; 0: any
};

struct Occupancy {
  int by_threads = 0, by_blocks = 0, by_registers = 0, by_shared = 0;  // blocks a multiprocessor; -1: no limit
  int blocks_per_sm = 0;
  std::string limited_by;       // "registers", "shared memory and threads"
  double warps_share = 0;       // resident warps of those that fit
  double waves = 0;             // blocks / places
  std::int64_t places = 0;      // blocks resident at once on the whole device
  std::int64_t last_wave = 0;   // blocks in the last, partial wave; 0: it is full
  double efficiency = 0;        // waves / waves rounded up
  double busy_sms = 0;          // multiprocessors that have a block in the first wave
  double needed_in_flight = 0;  // bytes, latency x bandwidth, of the device; 0: the latency is not known
  double bytes_in_flight = 0;   // of the device in its first wave
};

// Failure(kUsage) for what no launch can be: more threads than a block may have, more shared memory than there is.
Occupancy occupancy_of(const KernelConfig& config, const GpuFacts& gpu);

}  // namespace billfish::cli
