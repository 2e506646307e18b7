// SPDX-License-Identifier: Apache-2.0
// See driver.hpp. Declares the few entry points that it needs itself: they are part of the driver's stable ABI.
#include "measure/driver.hpp"

#include <dlfcn.h>

namespace billfish::measure {
namespace {

using Answer = int;  // 0 is success

// Numbers of the driver's device attributes.
enum Attribute {
  kThreadsPerBlock = 1,
  kClockKhz = 13,
  kMultiprocessors = 16,
  kMemoryClockKhz = 36,
  kMemoryBusBits = 37,
  kL2Bytes = 38,
  kThreadsPerSm = 39,
  kMajor = 75,
  kMinor = 76,
  kSharedPerSm = 81,
  kRegistersPerSm = 82,
  kSharedPerBlockAtMost = 97,
  kBlocksPerSm = 106,
  kSharedReserved = 111
};

struct Driver {
  Answer (*get)(int*, int) = nullptr;
  Answer (*name)(char*, int, int) = nullptr;
  Answer (*attribute)(int*, int, int) = nullptr;
  Answer (*memory)(std::size_t*, int) = nullptr;
  Answer (*bus_id)(char*, int, int) = nullptr;
  int version = 0, devices = 0;
  std::string missing;  // empty: ready
};

template <class Function>
void look_up(void* library, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr && missing.empty()) missing = std::string("the CUDA driver's libcuda.so.1 lacks ") + name;
}

Driver load() {
  Driver driver;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    driver.missing = "no CUDA driver on this machine: libcuda.so.1 cannot be loaded";
    return driver;
  }
  Answer (*init)(unsigned) = nullptr;
  Answer (*version)(int*) = nullptr;
  Answer (*count)(int*) = nullptr;
  look_up(library, "cuInit", init, driver.missing);
  look_up(library, "cuDriverGetVersion", version, driver.missing);
  look_up(library, "cuDeviceGetCount", count, driver.missing);
  look_up(library, "cuDeviceGet", driver.get, driver.missing);
  look_up(library, "cuDeviceGetName", driver.name, driver.missing);
  look_up(library, "cuDeviceGetAttribute", driver.attribute, driver.missing);
  look_up(library, "cuDeviceTotalMem_v2", driver.memory, driver.missing);
  look_up(library, "cuDeviceGetPCIBusId", driver.bus_id, driver.missing);
  if (!driver.missing.empty()) return driver;
  if (const Answer answer = init(0); answer != 0) {
    driver.missing = answer == 100 ? "the CUDA driver finds no device" : "the CUDA driver does not start: error " + std::to_string(answer);
    return driver;
  }
  if (version(&driver.version) != 0) driver.version = 0;
  if (count(&driver.devices) != 0) driver.devices = 0;
  if (driver.devices == 0) driver.missing = "the CUDA driver finds no device";
  return driver;
}

const Driver& driver() {
  static const Driver loaded = load();
  return loaded;
}

int attribute(int handle, Attribute which) {
  int value = 0;
  return driver().attribute(&value, which, handle) == 0 ? value : 0;
}

}  // namespace

Result<DriverFacts> driver_facts(int device) {
  if (!driver().missing.empty()) return device_error(driver().missing);
  int handle = 0;
  if (device < 0 || device >= driver().devices || driver().get(&handle, device) != 0) {
    return device_error("device index is " + std::to_string(device) + "; this machine has " + std::to_string(driver().devices) +
                        " CUDA devices, counted from 0");
  }
  DriverFacts facts;
  char name[256] = "";
  if (driver().name(name, sizeof name, handle) == 0) facts.name = name;
  facts.driver_cuda = driver().version;
  facts.major = attribute(handle, kMajor);
  facts.minor = attribute(handle, kMinor);
  facts.multiprocessors = attribute(handle, kMultiprocessors);
  facts.clock_mhz = attribute(handle, kClockKhz) / 1000;
  facts.memory_clock_mhz = attribute(handle, kMemoryClockKhz) / 1000;
  facts.memory_bus_bits = attribute(handle, kMemoryBusBits);
  std::size_t bytes = 0;
  if (driver().memory(&bytes, handle) == 0) facts.memory_bytes = static_cast<std::int64_t>(bytes);
  facts.l2_bytes = attribute(handle, kL2Bytes);
  facts.shared_per_sm = attribute(handle, kSharedPerSm);
  facts.shared_per_block = attribute(handle, kSharedPerBlockAtMost);
  facts.shared_reserved = attribute(handle, kSharedReserved);
  facts.registers_per_sm = attribute(handle, kRegistersPerSm);
  facts.threads_per_sm = attribute(handle, kThreadsPerSm);
  facts.blocks_per_sm = attribute(handle, kBlocksPerSm);
  facts.threads_per_block = attribute(handle, kThreadsPerBlock);
  return facts;
}

std::string driver_bus_id(int device) {
  int handle = 0;
  char text[32] = "";
  if (!driver().missing.empty() || device < 0 || device >= driver().devices || driver().get(&handle, device) != 0) return {};
  return driver().bus_id(text, sizeof text, handle) == 0 ? text : "";
}

}  // namespace billfish::measure
