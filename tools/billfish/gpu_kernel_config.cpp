// SPDX-License-Identifier: Apache-2.0
// `billfish gpu kernel-config`: how a launch fills a device. A pure function of the launch and the device's facts, recorded or here.
#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <vector>

#include "errors.hpp"
#include "gpu.hpp"
#include "occupancy.hpp"
#include "options.hpp"
#include "plan_problem.hpp"
#include "svg.hpp"
#include "terminal.hpp"
#include "text.hpp"

namespace billfish::cli {
namespace {

struct Words {
  std::string launch, facts, svg;
  PlanWords plan;
  std::int64_t shared = 0, in_flight = -1;
  int registers = 0;
  bool json = false;
};

// "128,4,1;256,1,1" -> six numbers; missing ones are 1.
std::vector<std::int64_t> parse_launch(const std::string& text) {
  std::vector<std::int64_t> sizes(6, 1);
  std::size_t at = 0, index = 0;
  bool block = false;
  const auto refuse = [&] {
    fail(kUsage, "\"{}\" is no launch: write \"GRID;BLOCK\", each of one to three numbers, as \"128,4,1;256,1,1\"", text);
  };
  for (;;) {
    const std::size_t end = std::min(text.find_first_of(",;", at), text.size());
    const char* last = text.data() + end;
    if (index > 2) refuse();
    std::int64_t& size = sizes[(block ? 3 : 0) + index];
    const auto [stop, error] = std::from_chars(text.data() + at, last, size);
    if (error != std::errc() || stop != last || size < 1 || size > 0x7fffffff) refuse();
    if (end == text.size()) break;
    if (text[end] == ';') {
      if (block) refuse();
      block = true;
      index = 0;
    } else {
      ++index;
    }
    at = end + 1;
  }
  if (!block) refuse();
  return sizes;
}

// What CUDA allows on every device; threads of a block are held against the device's own limit.
void check_launch(const std::string& text, const std::vector<std::int64_t>& sizes) {
  constexpr std::int64_t kMostGridYZ = 65535, kMostBlockZ = 64;
  if (sizes[1] > kMostGridYZ || sizes[2] > kMostGridYZ) {
    fail(kUsage, "\"{}\": y and z of a grid are at most {}: move blocks to x", text, kMostGridYZ);
  }
  if (sizes[5] > kMostBlockZ) fail(kUsage, "\"{}\": z of a block is at most {}: move threads to x or y", text, kMostBlockZ);
}

// A launch has no plan that --device could choose: the facts decide, so it may only name the same architecture.
void check_architecture(const std::string& word, const GpuFacts& gpu) {
  const std::string here = fmt::format("sm_{}{}", gpu.facts.major, gpu.facts.minor);
  if (word.empty() || word == here) return;
  fail(kUsage, "--device {}: the launch is held against an {} ({}): leave --device out, or choose another device by --device-facts", word,
       gpu.facts.name, here);
}

struct Launch {
  KernelConfig config;
  std::string text;
  std::string in_flight_text;
};

Launch launch_of(const Words& words, const GpuFacts& gpu) {
  Launch launch;
  if (words.launch.empty()) {
    const std::string device = device_of(words.plan, gpu.facts.major, gpu.facts.minor);
    const billfish_plan_details plan = plan_of(words.plan, device);
    launch.config = {plan.blocks, plan.threads, plan.shared_bytes, plan.registers, plan.bytes_in_flight, plan.blocks_per_sm};
    launch.text = fmt::format("{} {} of {}: tile {} x {} tokens, {} splits", plan.implementation, plan.policy, text_of(words.plan),
                              plan.tile_n, plan.tile_m, plan.splits);
    if (plan.cluster > 1) launch.text += fmt::format(", clusters of {}", plan.cluster);
    launch.in_flight_text = "the weights' stages";
  } else {
    if (words.plan.m != 0 || words.plan.n != 0 || words.plan.k != 0) {
      fail(kUsage, "give \"GRID;BLOCK\" or --m --n --k, not both");
    }
    check_architecture(words.plan.architecture, gpu);
    const std::vector<std::int64_t> s = parse_launch(words.launch);
    check_launch(words.launch, s);
    const double blocks = static_cast<double>(s[0]) * static_cast<double>(s[1]) * static_cast<double>(s[2]);
    const double threads = static_cast<double>(s[3]) * static_cast<double>(s[4]) * static_cast<double>(s[5]);
    if (blocks > 1e15 || threads > 1e6) fail(kUsage, "\"{}\": no launch is that large", words.launch);
    launch.config.blocks = s[0] * s[1] * s[2];
    launch.config.threads = static_cast<int>(s[3] * s[4] * s[5]);
    launch.config.shared = words.shared;
    launch.config.registers = words.registers;
    launch.config.in_flight = words.in_flight >= 0 ? words.in_flight : std::int64_t{16} * launch.config.threads;
    launch.text = fmt::format("grid {} x {} x {}, block {} x {} x {}", s[0], s[1], s[2], s[3], s[4], s[5]);
    launch.in_flight_text = words.in_flight >= 0 ? "--in-flight" : "one load of 16 bytes a thread; --in-flight says otherwise";
  }
  return launch;
}

// Blocks of multiprocessor `sm` when `blocks` are handed out in turn.
std::int64_t share_of(std::int64_t blocks, int sm, int sms) { return blocks / sms + (sm < blocks % sms ? 1 : 0); }

std::string limit_text(int limit) { return limit < 0 ? "any" : std::to_string(limit); }

void print(const Launch& launch, const Occupancy& o, const GpuFacts& gpu) {
  const KernelConfig& c = launch.config;
  const int sms = gpu.facts.multiprocessors;
  fmt::print("{} on {} ({})\n", launch.text, bold(gpu.facts.name), gpu.source);
  fmt::print("  launch            {} blocks of {} threads, {} shared memory, {}\n", c.blocks, c.threads,
             bytes_text(static_cast<double>(c.shared)),
             c.registers > 0 ? fmt::format("{} registers a thread", c.registers) : "registers not said (--regs)");
  fmt::print("  occupancy         {} blocks a multiprocessor, {:.0f} % of its warps; limited by {}\n", o.blocks_per_sm, o.warps_share * 100,
             o.limited_by);
  fmt::print("    limits          threads {}, blocks {}, registers {}, shared memory {}{}\n", o.by_threads, o.by_blocks,
             limit_text(o.by_registers), limit_text(o.by_shared), c.at_most > 0 ? fmt::format(", compiled for {}", c.at_most) : "");
  fmt::print("  waves             {:.2f}: {} blocks, {} places\n", o.waves, c.blocks, o.places);
  if (o.waves <= 1) {
    fmt::print("  tail              none: all run at once, on {:.0f} of {} multiprocessors\n", o.busy_sms, sms);
  } else if (o.last_wave == 0) {
    fmt::print("  tail              none: the last wave is full\n");
  } else {
    fmt::print("  tail              the last wave fills {} of {} places; if all blocks take as long, {:.0f} % of the time is used\n",
               o.last_wave, o.places, o.efficiency * 100);
  }
  fmt::print("  bytes in flight   {} ({})", bytes_text(o.bytes_in_flight), launch.in_flight_text);
  if (o.needed_in_flight > 0) {
    fmt::print("; memory at full speed needs {:.0f} ns x {:.2f} TB/s = {}: {}\n", gpu.figures.memory_ns, gpu.best_read_gbps() / 1000,
               bytes_text(o.needed_in_flight), o.bytes_in_flight >= o.needed_in_flight ? "enough" : "too few");
  } else {
    fmt::print("; the memory's latency was not measured for this device: `billfish gpu snapshot` does\n");
  }
  constexpr int kRow = 33;
  const auto picture = [&](const char* title, std::int64_t blocks) {
    fmt::print("  {}\n", title);
    for (int row = 0; row < sms; row += kRow) {
      std::string line;
      for (int sm = row; sm < std::min(sms, row + kRow); ++sm) {
        const std::int64_t n = share_of(blocks, sm, sms);
        line += n == 0 ? '.' : n < 10 ? static_cast<char>('0' + n) : '#';
      }
      fmt::print("    {}\n", line);
    }
  };
  picture("first wave, blocks on each multiprocessor", std::min(c.blocks, o.places));
  if (o.waves > 1 && o.last_wave > 0) picture("last wave", o.last_wave);
}

std::string picture_svg(const Launch& launch, const Occupancy& o, const GpuFacts& gpu) {
  constexpr double kCell = 34, kGap = 5, kLeft = 24, kTop = 92;
  constexpr int kRow = 22;
  const int sms = gpu.facts.multiprocessors, rows = (sms + kRow - 1) / kRow;
  const bool tail = o.waves > 1 && o.last_wave > 0;
  const double panel = rows * (kCell + kGap) + 40;
  Svg svg(kLeft * 2 + kRow * (kCell + kGap), kTop + panel * (tail ? 2 : 1), "blocks on multiprocessors");
  svg.text(kLeft, 28, fmt::format("Blocks on the {} multiprocessors of an {}", sms, gpu.facts.name), 17, "start", true);
  svg.text(kLeft, 48, launch.text, 12);
  svg.text(kLeft, 66,
           fmt::format("{} blocks, {} a multiprocessor (limited by {}), {:.2f} waves, {:.0f} % of the time used", launch.config.blocks,
                       o.blocks_per_sm, o.limited_by, o.waves, o.efficiency * 100),
           12);
  const auto draw = [&](double top, const std::string& title, std::int64_t blocks) {
    svg.text(kLeft, top, title, 13, "start", true);
    for (int sm = 0; sm < sms; ++sm) {
      const double x = kLeft + sm % kRow * (kCell + kGap), y = top + 10 + sm / kRow * (kCell + kGap);
      const std::int64_t n = share_of(blocks, sm, sms);
      svg.rectangle(x, y, kCell, kCell, "#eeeeee", fmt::format("multiprocessor {}: {} of {} places", sm, n, o.blocks_per_sm));
      const double height = (kCell - 4) / o.blocks_per_sm;
      for (std::int64_t i = 0; i < n; ++i) {
        svg.rectangle(x + 2, y + kCell - 2 - static_cast<double>(i + 1) * height, kCell - 4, height, kColours[i % 2 == 0 ? 0 : 5], "",
                      "white");
      }
    }
  };
  draw(kTop, "first wave", std::min(launch.config.blocks, o.places));
  if (tail) draw(kTop + panel, "last wave", o.last_wave);
  return svg.take();
}

int run(const Words& words) {
  const GpuFacts gpu = gpu_facts(words.facts);
  const Launch launch = launch_of(words, gpu);
  const Occupancy o = occupancy_of(launch.config, gpu);
  if (words.json) {
    const KernelConfig& c = launch.config;
    print_json({{"schema", 1},
                {"device", gpu.facts.name},
                {"source", gpu.source},
                {"launch", launch.text},
                {"blocks", c.blocks},
                {"threads", c.threads},
                {"shared_bytes", c.shared},
                {"registers", c.registers},
                {"blocks_per_sm", o.blocks_per_sm},
                {"limited_by", o.limited_by},
                {"limits",
                 {{"threads", o.by_threads},
                  {"blocks", o.by_blocks},
                  {"registers", o.by_registers < 0 ? Json() : Json(o.by_registers)},
                  {"shared", o.by_shared < 0 ? Json() : Json(o.by_shared)}}},
                {"occupancy", o.warps_share},
                {"waves", o.waves},
                {"places", o.places},
                {"last_wave", o.last_wave},
                {"efficiency", o.efficiency},
                {"bytes_in_flight", o.bytes_in_flight},
                {"bytes_needed", o.needed_in_flight > 0 ? Json(o.needed_in_flight) : Json()}});
  } else {
    print(launch, o, gpu);
  }
  if (!words.svg.empty()) write_picture(words.svg, picture_svg(launch, o, gpu));
  return kOk;
}

}  // namespace

Runner add_gpu_kernel_config(Arguments& arguments) {
  auto words = std::make_shared<Words>();
  arguments.add_option("LAUNCH", words->launch, "\"GRID;BLOCK\", as \"128,4,1;256,1,1\"; or a problem by --m --n --k");
  add_plan_options(arguments, words->plan);
  arguments.add_option("--smem", words->shared, "Shared memory of a block").value_name("BYTES");
  arguments.add_option("--regs", words->registers, "Registers of a thread").value_name("R");
  arguments.add_option("--in-flight", words->in_flight, "Bytes of loads that a block keeps under way").value_name("BYTES");
  arguments.add_option("--device-facts", words->facts, "A recorded device; the one here, else bench/devices/h200.json").value_name("FILE");
  arguments.add_option("--svg", words->svg, "File for a picture of the blocks").value_name("FILE");
  add_json_flag(arguments, words->json);
  arguments.footer(
      "Example:\n  billfish gpu kernel-config \"128,4,1;256,1,1\" --smem 49152 --regs 96\n  billfish gpu kernel-config --m 16 --n 4096 --k "
      "4096");
  return [words] { return run(*words); };
}

}  // namespace billfish::cli
