// SPDX-License-Identifier: Apache-2.0
// What the CUDA driver says of a device, looked up at run time: works in every build, also in one without CUDA. Called by
// api/tools_device.cpp and by nvml.cpp's callers; calls libcuda.so.1 through dlopen.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.hpp"

namespace billfish::measure {

struct DriverFacts {  // 0 and "": not known
  std::string name;
  int driver_cuda = 0;  // the newest CUDA that the driver serves: 13000 is 13.0
  int major = 0, minor = 0, multiprocessors = 0;
  int clock_mhz = 0, memory_clock_mhz = 0, memory_bus_bits = 0;
  std::int64_t memory_bytes = 0, l2_bytes = 0;
  std::int64_t shared_per_sm = 0, shared_per_block = 0, shared_reserved = 0;  // shared_reserved: of every block, by the driver
  int registers_per_sm = 0, threads_per_sm = 0, blocks_per_sm = 0, threads_per_block = 0;
};

// device_error with the one thing that is missing: the driver's library, a device, or that index.
Result<DriverFacts> driver_facts(int device);
// As the driver spells it ("0000:1B:00.0"); "" if there is no such device.
std::string driver_bus_id(int device);

}  // namespace billfish::measure
