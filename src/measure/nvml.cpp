// SPDX-License-Identifier: Apache-2.0
// See nvml.hpp, and telemetry in cuda_measure.hpp, which is here for every build. Declares the few entry points that it needs itself:
// their signatures are part of NVML's stable ABI.
#include "measure/nvml.hpp"

#include <dlfcn.h>

#include <utility>

#include "measure/driver.hpp"

namespace billfish::measure {
namespace {

using Handle = void*;
using Answer = int;  // 0 is success
constexpr unsigned kClockSm = 1, kClockMemory = 2;
constexpr unsigned kInstantPower = 186;  // a field id: milliwatts now, where nvmlDeviceGetPowerUsage averages over a second

struct FieldValue {
  unsigned field = 0, scope = 0;
  long long timestamp = 0, latency = 0;
  int type = 0;
  Answer answer = -1;
  union {
    double f64;
    unsigned u32;
    unsigned long u64;
    long long s64;
  } value = {};
};

struct Utilization {
  unsigned device = 0, memory = 0;
};
struct Memory {
  unsigned long long total = 0, free = 0, used = 0;
};

struct Library {
  Answer (*handle_by_bus)(const char*, Handle*) = nullptr;
  Answer (*clock)(Handle, unsigned, unsigned*) = nullptr;
  Answer (*power)(Handle, unsigned*) = nullptr;
  Answer (*power_limit)(Handle, unsigned*) = nullptr;
  Answer (*temperature)(Handle, unsigned, unsigned*) = nullptr;
  Answer (*reasons)(Handle, unsigned long long*) = nullptr;
  Answer (*fields)(Handle, int, FieldValue*) = nullptr;
  Answer (*utilization)(Handle, Utilization*) = nullptr;
  Answer (*memory)(Handle, Memory*) = nullptr;
  Answer (*version)(char*, unsigned) = nullptr;
  bool ready = false;
};

template <class Function>
void look_up(void* library, const char* name, Function& function) {
  if (function == nullptr) function = reinterpret_cast<Function>(dlsym(library, name));
}

Library load() {
  Library nvml;
  void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nvml;
  Answer (*init)() = nullptr;
  look_up(library, "nvmlInit_v2", init);
  look_up(library, "nvmlDeviceGetHandleByPciBusId_v2", nvml.handle_by_bus);
  look_up(library, "nvmlDeviceGetClockInfo", nvml.clock);
  look_up(library, "nvmlDeviceGetPowerUsage", nvml.power);
  look_up(library, "nvmlDeviceGetEnforcedPowerLimit", nvml.power_limit);
  look_up(library, "nvmlDeviceGetTemperature", nvml.temperature);
  look_up(library, "nvmlDeviceGetCurrentClocksEventReasons", nvml.reasons);
  look_up(library, "nvmlDeviceGetCurrentClocksThrottleReasons", nvml.reasons);  // its name before driver 535
  look_up(library, "nvmlDeviceGetFieldValues", nvml.fields);
  look_up(library, "nvmlDeviceGetUtilizationRates", nvml.utilization);
  look_up(library, "nvmlDeviceGetMemoryInfo", nvml.memory);
  look_up(library, "nvmlSystemGetDriverVersion", nvml.version);
  nvml.ready = init != nullptr && nvml.handle_by_bus != nullptr && init() == 0;
  return nvml;
}

const Library& library() {
  static const Library loaded = load();
  return loaded;
}

}  // namespace

cuda::Telemetry nvml_telemetry(const char* bus_id) {
  const Library& nvml = library();
  cuda::Telemetry telemetry;
  Handle device = nullptr;
  if (!nvml.ready || nvml.handle_by_bus(bus_id, &device) != 0) return telemetry;
  unsigned value = 0;
  if (nvml.clock != nullptr && nvml.clock(device, kClockSm, &value) == 0) telemetry.clock_mhz = value;
  if (nvml.clock != nullptr && nvml.clock(device, kClockMemory, &value) == 0) telemetry.memory_clock_mhz = value;
  FieldValue instant;
  instant.field = kInstantPower;
  if (nvml.fields != nullptr && nvml.fields(device, 1, &instant) == 0 && instant.answer == 0) {
    telemetry.power_w = instant.value.u32 * 1e-3;
  } else if (nvml.power != nullptr && nvml.power(device, &value) == 0) {
    telemetry.power_w = value * 1e-3;
  }
  if (nvml.power_limit != nullptr && nvml.power_limit(device, &value) == 0) telemetry.power_limit_w = value * 1e-3;
  if (nvml.temperature != nullptr && nvml.temperature(device, 0, &value) == 0) telemetry.temperature_c = value;
  unsigned long long mask = 0;
  if (nvml.reasons != nullptr && nvml.reasons(device, &mask) == 0) telemetry.throttle = mask;
  Utilization utilization;
  if (nvml.utilization != nullptr && nvml.utilization(device, &utilization) == 0) {
    telemetry.busy = utilization.device;
    telemetry.memory_busy = utilization.memory;
  }
  Memory memory;
  if (nvml.memory != nullptr && nvml.memory(device, &memory) == 0) {
    telemetry.memory_used = static_cast<double>(memory.used);
    telemetry.memory_total = static_cast<double>(memory.total);
  }
  telemetry.known = true;
  return telemetry;
}

namespace cuda {

Telemetry telemetry(int device) {
  const std::string bus_id = driver_bus_id(device);
  return bus_id.empty() ? Telemetry() : nvml_telemetry(bus_id.c_str());
}

std::string driver_version() {
  char text[96] = "";
  return library().ready && library().version != nullptr && library().version(text, sizeof text) == 0 ? text : "";
}

std::string throttle_text(std::uint64_t reasons) {
  static constexpr std::pair<std::uint64_t, const char*> kNames[] = {
      {0x2, "application clocks"}, {0x4, "power cap"},         {0x8, "hardware slowdown"}, {0x10, "sync boost"},
      {0x20, "thermal"},           {0x40, "hardware thermal"}, {0x80, "power brake"},      {0x100, "display clocks"}};
  std::string text;
  for (const auto& [bit, name] : kNames) {
    if ((reasons & bit) != 0) text += (text.empty() ? "" : ", ") + std::string(name);
  }
  return text;
}

}  // namespace cuda
}  // namespace billfish::measure
