// SPDX-License-Identifier: Apache-2.0
#include "occupancy.hpp"

#include <algorithm>
#include <cmath>

#include "errors.hpp"

namespace billfish::cli {
namespace {

constexpr int kWarp = 32;
constexpr int kPartitions = 4;             // of a multiprocessor, each with its own registers and warps
constexpr int kRegisterUnit = 256;         // registers are given to warps in such pieces
constexpr std::int64_t kSharedUnit = 128;  // bytes

std::int64_t round_up(std::int64_t value, std::int64_t to) { return (value + to - 1) / to * to; }

}  // namespace

Occupancy occupancy_of(const KernelConfig& config, const GpuFacts& gpu) {
  const billfish_cuda_facts& facts = gpu.facts;
  if (config.blocks < 1) fail(kUsage, "the grid has {} blocks: at least 1 is needed", config.blocks);
  if (config.threads < 1 || config.threads > facts.threads_per_block) {
    fail(kUsage, "a block has {} threads: {} allows 1 to {}", config.threads, facts.name, facts.threads_per_block);
  }
  if (config.shared < 0 || config.shared > facts.shared_per_block) {
    fail(kUsage, "--smem {}: a block of {} may have 0 to {} bytes of shared memory", config.shared, facts.name, facts.shared_per_block);
  }
  if (config.registers < 0 || config.registers > 255) fail(kUsage, "--regs {}: a thread has 1 to 255 registers", config.registers);
  Occupancy o;
  const int warps = (config.threads + kWarp - 1) / kWarp, most_warps = facts.threads_per_sm / kWarp;
  o.by_threads = most_warps / warps;
  o.by_blocks = facts.blocks_per_sm;
  o.by_registers = -1;
  if (config.registers > 0) {
    const std::int64_t of_warp = round_up(std::int64_t{config.registers} * kWarp, kRegisterUnit);
    o.by_registers = static_cast<int>(facts.registers_per_sm / kPartitions / of_warp * kPartitions / warps);
  }
  const std::int64_t shared = round_up(config.shared + facts.shared_reserved, kSharedUnit);
  o.by_shared = shared > 0 ? static_cast<int>(facts.shared_per_sm / shared) : -1;
  o.blocks_per_sm = std::min(o.by_threads, o.by_blocks);
  for (const int limit : {o.by_registers, o.by_shared, config.at_most > 0 ? config.at_most : -1}) {
    if (limit >= 0) o.blocks_per_sm = std::min(o.blocks_per_sm, limit);
  }
  if (o.blocks_per_sm == 0) {
    fail(kUsage, "{} threads of {} registers: a multiprocessor of {} has {} registers", config.threads, config.registers, facts.name,
         facts.registers_per_sm);
  }
  const auto name = [&](int limit, const char* word) {
    if (limit == o.blocks_per_sm) o.limited_by += (o.limited_by.empty() ? "" : " and ") + std::string(word);
  };
  name(o.by_threads, "threads");
  name(o.by_blocks, "blocks");
  name(o.by_registers, "registers");
  name(o.by_shared, "shared memory");
  if (o.limited_by.empty()) o.limited_by = "what the kernel was compiled for";
  o.warps_share = static_cast<double>(o.blocks_per_sm) * warps / most_warps;
  o.places = std::int64_t{o.blocks_per_sm} * facts.multiprocessors;
  o.waves = static_cast<double>(config.blocks) / static_cast<double>(o.places);
  o.last_wave = config.blocks % o.places;
  o.efficiency = o.waves / std::ceil(o.waves);
  o.busy_sms = static_cast<double>(std::min<std::int64_t>(config.blocks, facts.multiprocessors));
  o.needed_in_flight = gpu.figures.memory_ns * gpu.best_read_gbps();  // ns x GB/s is bytes
  o.bytes_in_flight = static_cast<double>(config.in_flight) * static_cast<double>(std::min(config.blocks, o.places));
  return o;
}

}  // namespace billfish::cli
