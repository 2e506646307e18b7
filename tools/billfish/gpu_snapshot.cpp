// SPDX-License-Identifier: Apache-2.0
// `billfish gpu snapshot`: the driver's facts, the state of the device now, and measured figures beside the theoretical ones.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "bench_cublas.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "gpu.hpp"
#include "gpu_facts.hpp"
#include "machine.hpp"
#include "options.hpp"
#include "svg.hpp"
#include "terminal.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

struct Words {
  int device = 0;
  std::string out, file;
  bool json = false, visualize = false, quick = false;
};

struct Snapshot {
  GpuFacts gpu;
  billfish_cuda_telemetry state = BILLFISH_CUDA_TELEMETRY_INIT;
  std::string when;
  std::vector<std::string> missing;  // one line each
};

// A figure above what the device can do at all is a defect of its measurement: it is said, and left out.
void drop_impossible(Snapshot& snapshot) {
  constexpr double kMost = 1.02;  // of the theoretical figure: clocks are known to a per cent
  billfish_cuda_figures& f = snapshot.gpu.figures;
  const Theory theory = snapshot.gpu.theory();
  const auto hold = [&](const char* what, double& value, double most, const char* unit) {
    if (most <= 0 || value <= kMost * most) return;
    snapshot.missing.push_back(
        fmt::format("{} left out: {:.0f} {} were measured, and the device can do at most {:.0f}", what, value, unit, most));
    value = 0;
  };
  hold("memory, read", f.read_gbps, theory.read_gbps, "GB/s");
  hold("memory, copy", f.copy_gbps, theory.read_gbps, "GB/s");
  hold("L2, read", f.l2_gbps, theory.l2_gbps, "GB/s");
  hold("shared memory, read", f.shared_gbps, theory.shared_gbps, "GB/s");
  hold("f16 tensor cores, mma", f.mma_tflops, theory.tensor_tflops, "TFLOP/s");
  hold("f16 tensor cores, wgmma", f.wgmma_tflops, theory.tensor_tflops, "TFLOP/s");
}

Snapshot take(const Words& words) {
  Snapshot snapshot;
  if (!words.file.empty()) {
    snapshot.gpu = read_gpu_facts(words.file);
    snapshot.when = snapshot.gpu.when;
    drop_impossible(snapshot);
    return snapshot;
  }
  snapshot.when = now_text();
  snapshot.gpu.source = fmt::format("device {}", words.device);
  if (billfish_tools_cuda_facts(words.device, &snapshot.gpu.facts) != BILLFISH_OK) {
    throw Failure(kDevice, std::string(billfish_last_error()) + "; --device-facts FILE shows a recorded device");
  }
  check(billfish_tools_cuda_telemetry(words.device, &snapshot.state));
  if (!snapshot.state.known) {
    snapshot.missing.push_back("no state: the driver's management library libnvidia-ml.so.1 cannot be used here");
  }
  if (words.quick) return snapshot;
  if (billfish_tools_cuda_figures(words.device, &snapshot.gpu.figures) != BILLFISH_OK) {
    snapshot.missing.push_back(std::string("nothing measured: ") + billfish_last_error());
  }
  drop_impossible(snapshot);
  return snapshot;
}

Json state_json(const billfish_cuda_telemetry& state) {
  if (!state.known) return {};
  char reasons[256] = "";
  check(billfish_tools_cuda_throttle_text(state.throttle, reasons, sizeof reasons));
  return {{"busy_percent", state.busy_percent},
          {"memory_busy_percent", state.memory_busy_percent},
          {"memory_used_bytes", state.memory_used},
          {"clock_mhz", state.clock_mhz},
          {"memory_clock_mhz", state.memory_clock_mhz},
          {"power_w", state.power_w},
          {"power_limit_w", state.power_limit_w},
          {"temperature_c", state.temperature_c},
          {"throttle", reasons}};
}

Json document_of(const Snapshot& snapshot) {
  return {{"schema", 1},
          {"when", snapshot.when},
          {"facts", json_of(snapshot.gpu.facts)},
          {"state", state_json(snapshot.state)},
          {"theoretical", json_of(snapshot.gpu.theory())},
          {"measured", json_of(snapshot.gpu.figures)},
          {"missing", snapshot.missing}};
}

std::string version_text(int version) { return version > 0 ? fmt::format("{}.{}", version / 1000, version % 1000 / 10) : "none"; }

void print_facts(const Snapshot& snapshot) {
  const billfish_cuda_facts& f = snapshot.gpu.facts;
  fmt::print("{}, compute capability {}.{} ({}{}{})\n", bold(f.name), f.major, f.minor, snapshot.gpu.source,
             snapshot.when.empty() ? "" : ", ", snapshot.when);
  fmt::print("  driver            {}, serves CUDA {}; this program's runtime {}\n", *f.driver != '\0' ? f.driver : "version not known",
             version_text(f.driver_cuda), version_text(f.runtime_cuda));
  fmt::print("  multiprocessors   {} at up to {} MHz\n", f.multiprocessors, f.clock_mhz);
  fmt::print("  each              {} threads, {} blocks, {} registers, {} shared memory ({} for one block, {} the driver's)\n",
             f.threads_per_sm, f.blocks_per_sm, f.registers_per_sm, bytes_text(static_cast<double>(f.shared_per_sm)),
             bytes_text(static_cast<double>(f.shared_per_block)), bytes_text(static_cast<double>(f.shared_reserved)));
  fmt::print("  memory            {}, {} bits at {} MHz; L2 {}\n", bytes_text(static_cast<double>(f.memory_bytes)), f.memory_bus_bits,
             f.memory_clock_mhz, bytes_text(static_cast<double>(f.l2_bytes)));
  const billfish_cuda_telemetry& s = snapshot.state;
  if (!s.known) return;
  char reasons[256] = "";
  check(billfish_tools_cuda_throttle_text(s.throttle, reasons, sizeof reasons));
  fmt::print("now\n  use               {:.0f} % of the time, memory {:.0f} %; {} of {} used\n", s.busy_percent, s.memory_busy_percent,
             bytes_text(s.memory_used), bytes_text(s.memory_total));
  fmt::print("  clocks            {:.0f} MHz, memory {:.0f} MHz{}\n", s.clock_mhz, s.memory_clock_mhz,
             *reasons != '\0' ? std::string("; held back by: ") + reasons : "");
  fmt::print("  power, heat       {:.0f} of {:.0f} W, {:.0f} degrees C\n", s.power_w, s.power_limit_w, s.temperature_c);
}

std::string rate_text(double gbps) { return gbps >= 1000 ? fmt::format("{:.2f} TB/s", gbps / 1000) : fmt::format("{:.0f} GB/s", gbps); }

void print_figures(const GpuFacts& gpu) {
  const billfish_cuda_figures& f = gpu.figures;
  const Theory theory = gpu.theory();
  Table table({"measured", "", "theoretical", "per cent", "theory says"});
  const auto add = [&](const char* what, double value, double most, const std::string& unit, const char* why) {
    if (value <= 0 && most <= 0) return;
    const auto text = [&](double number) { return unit == "GB/s" ? rate_text(number) : fmt::format("{:.0f} {}", number, unit); };
    table.add({what, value > 0 ? text(value) : "not measured", most > 0 ? text(most) : "-",
               value > 0 && most > 0 ? fmt::format("{:.0f}", value / most * 100) : "-", why});
  };
  add("  memory, read", f.read_gbps, theory.read_gbps, "GB/s", "2 x clock x bus width");
  add("  memory, copy", f.copy_gbps, theory.read_gbps, "GB/s", "reads and writes together");
  add("  L2, read", f.l2_gbps, theory.l2_gbps, "GB/s", "64 bytes a clock and multiprocessor at its full clock");
  add("  shared memory, read", f.shared_gbps, theory.shared_gbps, "GB/s", "128 bytes a clock and multiprocessor");
  add("  f16 tensor cores, mma", f.mma_tflops, theory.tensor_tflops, "TFLOP/s", "the older instruction, in every program");
  add("  f16 tensor cores, wgmma", f.wgmma_tflops, theory.tensor_tflops, "TFLOP/s", "for milliseconds: cool, below the power limit");
  fmt::print("{}", table.text());
  const auto line = [](const char* what, double value, const char* unit, const char* note) {
    if (value > 0) fmt::print("  {:<23} {:>8.2f} {}{}\n", what, value, unit, note);
  };
  line("memory latency", f.memory_ns, "ns", "");
  line("L2 latency", f.l2_ns, "ns", "");
  line("launch, one by one", f.launch_us, "us", " a kernel of a chain");
  line("launch, in a graph", f.graph_us, "us", " a kernel of a chain");
  line("launch and wait", f.round_trip_us, "us", "");
}

struct Level {
  std::string name, size, detail;
  double gbps, theory;  // towards the multiprocessors
  std::string latency;
};

std::vector<Level> levels_of(const GpuFacts& gpu) {
  const billfish_cuda_facts& f = gpu.facts;
  const Theory theory = gpu.theory();
  const double sms = f.multiprocessors;
  const auto ns = [](double value) { return value > 0 ? fmt::format("{:.0f} ns", value) : std::string(); };
  return {
      {"registers", bytes_text(4.0 * f.registers_per_sm * sms),
       fmt::format("{} x {}", f.multiprocessors, bytes_text(4.0 * f.registers_per_sm)), 0, 0, ""},
      {"shared memory", bytes_text(static_cast<double>(f.shared_per_sm) * sms),
       fmt::format("{} x {}", f.multiprocessors, bytes_text(static_cast<double>(f.shared_per_sm))), gpu.figures.shared_gbps,
       theory.shared_gbps, ""},
      {"L2", bytes_text(static_cast<double>(f.l2_bytes)), "", gpu.figures.l2_gbps, theory.l2_gbps, ns(gpu.figures.l2_ns)},
      {"memory", bytes_text(static_cast<double>(f.memory_bytes)), fmt::format("{} bits at {} MHz", f.memory_bus_bits, f.memory_clock_mhz),
       gpu.figures.read_gbps, theory.read_gbps, ns(gpu.figures.memory_ns)},
  };
}

std::string arrow_text(const Level& level) {
  if (level.gbps > 0) {
    return fmt::format("{} measured, {:.0f} % of {}{}", rate_text(level.gbps), level.gbps / level.theory * 100, rate_text(level.theory),
                       level.latency.empty() ? "" : ", " + level.latency);
  }
  return rate_text(level.theory) + " in theory, not measured";
}

void print_hierarchy(const GpuFacts& gpu) {
  constexpr int kWide = 60;
  fmt::print("\n");
  const std::vector<Level> levels = levels_of(gpu);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    const int width = 24 + static_cast<int>(i) * (kWide - 24) / 3;
    const std::string words = fmt::format("{}  {}", level.name, level.size);
    if (i > 0) fmt::print("{:>{}}  {}\n", "^", kWide / 2, arrow_text(level));
    const std::string pad(static_cast<std::size_t>((kWide - width) / 2), ' ');
    fmt::print("{}+{}+\n{}|{:^{}}|  {}\n{}+{}+\n", pad, std::string(static_cast<std::size_t>(width - 2), '-'), pad, words, width - 2,
               level.detail, pad, std::string(static_cast<std::size_t>(width - 2), '-'));
  }
}

std::string hierarchy_svg(const Snapshot& snapshot) {
  const std::vector<Level> levels = levels_of(snapshot.gpu);
  constexpr double kWidth = 860, kTop = 60, kBox = 54, kGap = 62, kMiddle = 300;
  Svg svg(kWidth, kTop + 4 * (kBox + kGap), "memory hierarchy");
  svg.text(20, 28, fmt::format("{}: memory, from the multiprocessors down", snapshot.gpu.facts.name), 17, "start", true);
  svg.text(20, 46, fmt::format("bandwidths {}; {}", snapshot.gpu.figures.read_gbps > 0 ? "measured" : "in theory", snapshot.when), 12);
  double fastest = 1;
  for (const Level& level : levels) fastest = std::max(fastest, std::max(level.gbps, level.theory));
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    const double width = 190 + 120.0 * static_cast<double>(i), y = kTop + static_cast<double>(i) * (kBox + kGap);
    svg.rectangle(kMiddle - width / 2, y, width, kBox, kColours[i]);
    svg.text(kMiddle, y + 23, fmt::format("{}  {}", level.name, level.size), 15, "middle", true);
    svg.text(kMiddle, y + 42, level.detail, 12, "middle");
    if (i == 0) continue;
    // The arrow's width is in proportion to the bandwidth.
    const double rate = level.gbps > 0 ? level.gbps : level.theory, thick = std::max(2.0, 60 * rate / fastest);
    svg.rectangle(kMiddle - thick / 2, y - kGap + 3, thick, kGap - 6, "#666666", arrow_text(level), "");
    svg.text(kMiddle + 40, y - kGap / 2 + 4, arrow_text(level), 13);
  }
  return svg.take();
}

int run(const Words& words) {
  const Snapshot snapshot = take(words);
  const std::string json = text_of_json(document_of(snapshot), 1) + "\n";
  if (words.json) {
    fmt::print("{}", json);
  } else {
    print_facts(snapshot);
    print_figures(snapshot.gpu);
    if (words.visualize) print_hierarchy(snapshot.gpu);
    for (const std::string& line : snapshot.missing) fmt::print("{}\n", line);
  }
  if (!words.out.empty()) {
    make_folder(words.out);
    write_picture(words.out + "/snapshot.json", json);
    if (words.visualize) write_picture(words.out + "/memory.svg", hierarchy_svg(snapshot));
    if (!words.json) fmt::print("written: {}/snapshot.json{}\n", words.out, words.visualize ? ", memory.svg" : "");
  }
  return kOk;
}

}  // namespace

Runner add_gpu_snapshot(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  arguments.add_option("--device", words->device, "Which one, from 0").within(0, 63).show_default().value_name("INDEX");
  arguments.add_option("--device-facts", words->file, "Show what this file recorded instead").value_name("FILE");
  arguments.add_option("--out", words->out, "Folder for snapshot.json and, with --visualize, memory.svg").value_name("FOLDER");
  arguments.add_flag("--visualize", words->visualize, "Draw the memory hierarchy");
  arguments.add_flag("--quick", words->quick, "Measure nothing");
  add_json_flag(arguments, words->json);
  arguments.footer("Example:\n  billfish gpu snapshot --visualize --out machine");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
