// SPDX-License-Identifier: Apache-2.0
#include "gpu_facts.hpp"

#include <cmath>
#include <cstring>

#include "bench_problem.hpp"
#include "errors.hpp"
#include "members.hpp"

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
constexpr double kMostFigure = 1e15;
constexpr double kL2BytesPerClock = 64;  // that a multiprocessor can take in

template <class Struct, class Value>
struct Member {
  const char* name;
  Value Struct::*member;
  std::int64_t most;  // that a device may have of it: what is computed of facts stays within its type, and pictures within reason
};
constexpr std::int64_t kMostBytes = std::int64_t{1} << 50, kMostShared = std::int64_t{1} << 30;

using Facts = billfish_cuda_facts;
constexpr Member<Facts, int> kWhole[] = {{"major", &Facts::major, 1000},
                                         {"minor", &Facts::minor, 1000},
                                         {"multiprocessors", &Facts::multiprocessors, 1 << 16},
                                         {"clock_mhz", &Facts::clock_mhz, 1000000},
                                         {"memory_clock_mhz", &Facts::memory_clock_mhz, 1000000},
                                         {"memory_bus_bits", &Facts::memory_bus_bits, 1 << 20},
                                         {"registers_per_sm", &Facts::registers_per_sm, 1 << 24},
                                         {"threads_per_sm", &Facts::threads_per_sm, 1 << 16},
                                         {"blocks_per_sm", &Facts::blocks_per_sm, 1 << 10},
                                         {"threads_per_block", &Facts::threads_per_block, 1 << 16},
                                         {"driver_cuda", &Facts::driver_cuda, 1 << 30},
                                         {"runtime_cuda", &Facts::runtime_cuda, 1 << 30}};
constexpr Member<Facts, std::int64_t> kBytes[] = {{"memory_bytes", &Facts::memory_bytes, kMostBytes},
                                                  {"l2_bytes", &Facts::l2_bytes, kMostBytes},
                                                  {"shared_per_sm", &Facts::shared_per_sm, kMostShared},
                                                  {"shared_per_block", &Facts::shared_per_block, kMostShared},
                                                  {"shared_reserved", &Facts::shared_reserved, kMostShared}};
using Figures = billfish_cuda_figures;
constexpr Member<Figures, double> kFigures[] = {
    {"read_gbps", &Figures::read_gbps, 0},     {"copy_gbps", &Figures::copy_gbps, 0},       {"l2_gbps", &Figures::l2_gbps, 0},
    {"shared_gbps", &Figures::shared_gbps, 0}, {"memory_ns", &Figures::memory_ns, 0},       {"l2_ns", &Figures::l2_ns, 0},
    {"launch_us", &Figures::launch_us, 0},     {"graph_us", &Figures::graph_us, 0},         {"round_trip_us", &Figures::round_trip_us, 0},
    {"mma_tflops", &Figures::mma_tflops, 0},   {"wgmma_tflops", &Figures::wgmma_tflops, 0},
};

// What a computation cannot do without; the rest may be 0.
constexpr const char* kNeeded[] = {"major",         "multiprocessors",   "registers_per_sm", "threads_per_sm",
                                   "blocks_per_sm", "threads_per_block", "shared_per_sm",    "shared_per_block"};

template <std::size_t capacity>
void copy_text(const std::string& text, char (&target)[capacity]) {
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
  const std::string problem = "no facts of a device in it";
  const Document document = read_document(path, problem, "write such a file with `billfish gpu snapshot --json`");
  const Members members(document);
  if (!members.has("facts")) document.refuse(problem);
  const Members facts(document, document.json["facts"], "facts");
  GpuFacts gpu;
  gpu.source = path;
  gpu.when = one_line(members.words("when"));
  copy_text(one_line(facts.words("name")), gpu.facts.name);
  copy_text(one_line(facts.words("driver")), gpu.facts.driver);
  for (const auto& one : kWhole) gpu.facts.*one.member = static_cast<int>(facts.whole(one.name, 0, one.most));
  for (const auto& one : kBytes) gpu.facts.*one.member = facts.whole(one.name, 0, one.most);
  for (const char* name : kNeeded) {
    if (facts.whole(name) < 1) document.refuse(fmt::format("facts.{} is missing or 0", name));
  }
  if (members.has("measured")) {
    const Members measured(document, document.json["measured"], "measured");
    for (const auto& one : kFigures) gpu.figures.*one.member = measured.number(one.name, 0, kMostFigure);
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
