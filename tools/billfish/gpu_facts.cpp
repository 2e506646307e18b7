// SPDX-License-Identifier: Apache-2.0
#include "gpu_facts.hpp"

#include <cmath>
#include <cstring>

#include "bench_problem.hpp"
#include "errors.hpp"
#include "files.hpp"

namespace billfish::cli {
namespace {

// Dense f16 operations a clock and multiprocessor, f32 sums, by architecture (NVIDIA's data sheets: peak rate / clock / multiprocessors).
double tensor_operations(int architecture) {
  switch (architecture) {
    case 80: return 2048;
    case 75:
    case 86:
    case 87:
    case 89:
    case 120: return 1024;
    case 90: return 4096;
    case 100:
    case 103: return 8192;
    default: return 0;
  }
}

constexpr double kSharedBytesPerClock = 128;  // of a multiprocessor: 32 banks of 4 bytes
constexpr double kL2BytesPerClock = 64;       // that a multiprocessor can take in

template <class Struct, class Value>
struct Member {
  const char* name;
  Value Struct::*member;
};

using Facts = billfish_cuda_facts;
constexpr Member<Facts, int> kWhole[] = {{"major", &Facts::major},
                                         {"minor", &Facts::minor},
                                         {"multiprocessors", &Facts::multiprocessors},
                                         {"clock_mhz", &Facts::clock_mhz},
                                         {"memory_clock_mhz", &Facts::memory_clock_mhz},
                                         {"memory_bus_bits", &Facts::memory_bus_bits},
                                         {"registers_per_sm", &Facts::registers_per_sm},
                                         {"threads_per_sm", &Facts::threads_per_sm},
                                         {"blocks_per_sm", &Facts::blocks_per_sm},
                                         {"threads_per_block", &Facts::threads_per_block},
                                         {"driver_cuda", &Facts::driver_cuda},
                                         {"runtime_cuda", &Facts::runtime_cuda}};
constexpr Member<Facts, std::int64_t> kBytes[] = {{"memory_bytes", &Facts::memory_bytes},
                                                  {"l2_bytes", &Facts::l2_bytes},
                                                  {"shared_per_sm", &Facts::shared_per_sm},
                                                  {"shared_per_block", &Facts::shared_per_block},
                                                  {"shared_reserved", &Facts::shared_reserved}};
using Figures = billfish_cuda_figures;
constexpr Member<Figures, double> kFigures[] = {
    {"read_gbps", &Figures::read_gbps},     {"copy_gbps", &Figures::copy_gbps},       {"l2_gbps", &Figures::l2_gbps},
    {"shared_gbps", &Figures::shared_gbps}, {"memory_ns", &Figures::memory_ns},       {"l2_ns", &Figures::l2_ns},
    {"launch_us", &Figures::launch_us},     {"graph_us", &Figures::graph_us},         {"round_trip_us", &Figures::round_trip_us},
    {"mma_tflops", &Figures::mma_tflops},   {"wgmma_tflops", &Figures::wgmma_tflops},
};

// What a computation cannot do without; the rest may be 0.
constexpr const char* kNeeded[] = {"major",         "multiprocessors",   "registers_per_sm", "threads_per_sm",
                                   "blocks_per_sm", "threads_per_block", "shared_per_sm",    "shared_per_block"};

void copy_text(const Json& json, const char* name, char* target, std::size_t capacity) {
  const std::string text = json.contains(name) && json[name].is_string() ? json[name].get<std::string>() : "";
  std::strncpy(target, text.c_str(), capacity - 1);
}

}  // namespace

Theory GpuFacts::theory() const {
  Theory theory;
  const double clocks = facts.clock_mhz * 1e6 * facts.multiprocessors;
  theory.read_gbps = 2.0 * facts.memory_clock_mhz * 1e6 * facts.memory_bus_bits / 8 * 1e-9;
  theory.l2_gbps = clocks * kL2BytesPerClock * 1e-9;
  theory.shared_gbps = clocks * kSharedBytesPerClock * 1e-9;
  theory.tensor_tflops = clocks * tensor_operations(10 * facts.major + facts.minor) * 1e-12;
  return theory;
}

Json json_of(const billfish_cuda_facts& facts) {
  Json json = {{"name", facts.name}, {"driver", facts.driver}};
  for (const auto& one : kWhole) json[one.name] = facts.*one.member;
  for (const auto& one : kBytes) json[one.name] = facts.*one.member;
  return json;
}

Json json_of(const billfish_cuda_figures& figures) {
  Json json = Json::object();
  for (const auto& one : kFigures) json[one.name] = figures.*one.member > 0 ? Json(figures.*one.member) : Json();
  return json;
}

Json json_of(const Theory& theory) {
  return {{"read_gbps", theory.read_gbps},
          {"l2_gbps", theory.l2_gbps},
          {"shared_gbps", theory.shared_gbps},
          {"tensor_tflops", theory.tensor_tflops}};
}

GpuFacts read_gpu_facts(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  const char* text = reinterpret_cast<const char*>(bytes.data());
  const Json json = parse_json({text, bytes.size()});
  if (!json.is_object() || !json.contains("facts") || !json["facts"].is_object()) {
    fail(kBadInput, "{}: no facts of a device: write such a file with `billfish gpu snapshot --json`", path);
  }
  const Json& facts = json["facts"];
  GpuFacts gpu;
  gpu.source = path;
  gpu.when = json.contains("when") && json["when"].is_string() ? json["when"].get<std::string>() : "";
  copy_text(facts, "name", gpu.facts.name, sizeof gpu.facts.name);
  copy_text(facts, "driver", gpu.facts.driver, sizeof gpu.facts.driver);
  const auto number = [&](const Json& object, const char* name) {
    if (!object.contains(name) || object[name].is_null()) return 0.0;
    const double value = object[name].is_number() ? object[name].get<double>() : -1.0;
    if (!(value >= 0 && value < 1e15))
      fail(kBadInput, "{}: {} is {}; it must be a number of 0 or more", path, name, text_of_json(object[name]));
    return value;
  };
  for (const auto& one : kWhole) {
    const double value = number(facts, one.name);
    if (value > 1e9) fail(kBadInput, "{}: {} is {}; no device has so many", path, one.name, value);
    gpu.facts.*one.member = static_cast<int>(value);
  }
  for (const auto& one : kBytes) gpu.facts.*one.member = static_cast<std::int64_t>(number(facts, one.name));
  for (const char* name : kNeeded) {
    if (number(facts, name) < 1) fail(kBadInput, "{}: facts.{} is missing or 0", path, name);
  }
  if (json.contains("measured") && json["measured"].is_object()) {
    for (const auto& one : kFigures) gpu.figures.*one.member = number(json["measured"], one.name);
  }
  return gpu;
}

GpuFacts gpu_facts(const std::string& path) {
  if (!path.empty()) return read_gpu_facts(path);
  GpuFacts gpu;
  if (billfish_tools_cuda_facts(0, &gpu.facts) == BILLFISH_OK) {
    gpu.source = "device 0";
    // What a recorded run measured on such a device serves until this one is measured.
    const std::string recorded = find_bench_file("devices/h200.json");
    if (!recorded.empty()) {
      const GpuFacts file = read_gpu_facts(recorded);
      if (std::strcmp(file.facts.name, gpu.facts.name) == 0) gpu.figures = file.figures;
    }
    return gpu;
  }
  const std::string reason = billfish_last_error();
  const std::string recorded = find_bench_file("devices/h200.json");
  if (recorded.empty()) {
    fail(kDevice, "{}, and no bench/devices/h200.json to take its place: name a file with --device-facts, or set BILLFISH_BENCH", reason);
  }
  return read_gpu_facts(recorded);
}

}  // namespace billfish::cli
