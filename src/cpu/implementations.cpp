// SPDX-License-Identifier: Apache-2.0
// The three entries of the list in gemm/registry.cpp: which problems each runs, its plan, its run. Calls plan.cpp and run.cpp.
#include <algorithm>
#include <string>

#include "core/integers.hpp"
#include "cpu/cpu.hpp"
#include "cpu/kernels.hpp"
#include "cpu/plan.hpp"
#include "cpu/run.hpp"
#include "gemm/registry.hpp"

namespace billfish::cpu {
namespace {

struct ScalarSet {
  static const Arithmetic* table() { return kScalarArithmetic; }
  static const gemm::Implementation& self() { return scalar; }
  static const char* missing(const gemm::DeviceFacts&) { return nullptr; }
};
struct Avx2Set {
  static const Arithmetic* table() { return kAvx2Arithmetic; }
  static const gemm::Implementation& self() { return avx2; }
  static const char* missing(const gemm::DeviceFacts& facts) { return facts.avx2 ? nullptr : "this machine has no AVX2 with FMA and F16C"; }
};
struct Avx512Set {
  static const Arithmetic* table() { return kAvx512Arithmetic; }
  static const gemm::Implementation& self() { return avx512; }
  static const char* missing(const gemm::DeviceFacts& facts) {
    if (!facts.avx512) return "this machine has no AVX-512 F, BW, VL and VBMI";
    if (!facts.avx512_vnni) return "this machine has no AVX-512 VNNI";
    if (!facts.avx512_bf16) return "this machine has no AVX-512 BF16";
    return nullptr;
  }
};

struct AmxSet {
  static const Arithmetic* table() { return amx_arithmetic(); }
  static const gemm::Implementation& self() { return amx; }
  static const char* missing(const gemm::DeviceFacts& facts) {
    if (!facts.amx) return "this machine has no AMX with bf16 and int8, or its system does not let this process use it";
    return Avx512Set::missing(facts);
  }
};

template <class Set>
std::string why_not(const gemm::Problem& p, const gemm::DeviceFacts& facts) {
  if (const char* missing = Set::missing(facts)) return missing;
  if (p.uneven_groups) return "g_idx gives groups of uneven size; supported are groups of `group` rows each";
  if (p.group < p.k && p.group % kStepRows != 0) {
    return "group is " + std::to_string(p.group) + "; supported are -1 and multiples of " + std::to_string(kStepRows);
  }
  if (p.workspace_bytes >= 0) {
    const std::int64_t needed = choose_workspace(p, Set::table()[arithmetic_index(p, facts, Set::table())]).bytes;
    if (needed > p.workspace_bytes) {
      return "workspace is " + std::to_string(p.workspace_bytes) + " bytes; the smallest plan needs " + std::to_string(needed);
    }
  }
  return {};
}

template <class Set>
gemm::Plan plan(const gemm::Problem& p, const gemm::DeviceFacts& facts) {
  gemm::Plan result;
  result.implementation = &Set::self();
  result.policy = arithmetic_index(p, facts, Set::table());
  const Arithmetic& arithmetic = Set::table()[result.policy];
  const Workspace w = choose_workspace(p, arithmetic);
  const auto ways = kernels_in_turn(arithmetic, w.stream);
  const Kernels& kernels = w.stream ? arithmetic.stream : arithmetic.tile;
  result.policy_name = kernels.name;
  result.tile_m = static_cast<int>(ceil_div(w.rows, w.tiles));
  result.tile_n = kBlockColumns;
  result.tile_k = kernels.chunk_steps * kStepRows;
  result.threads = w.slots;
  result.blocks = w.items * w.row_parts;
  result.workspace_bytes = w.bytes;
  // One accumulator takes a chunk; one of C takes all chunks, and the stream kernels add up to four partial sums.
  int chain_a_step = 0;
  for (const Kernels* way : ways) {
    if (way == nullptr) continue;
    chain_a_step = std::max(chain_a_step, way->chain_a_step);
    result.zeros_after_sum |= way->sums_rows;
  }
  result.chain = chain_a_step * kChunkSteps + w.chunks + 4;
  result.splits_activations = chain_a_step > kStepRows;
  result.detail[0] = w.stream ? 1 : 0;
  result.detail[1] = w.rows;
  result.detail[2] = w.slots;
  return result;
}

template <class Set>
Status run(const gemm::Plan& chosen, const gemm::Problem& problem, const gemm::Call& call) {
  return multiply(Set::table(), chosen, problem, call);
}

template <class Set>
constexpr gemm::Implementation implementation(const char* name, const char* kernels) {
  return {name,
          DeviceKind::cpu,
          why_not<Set>,
          plan<Set>,
          nullptr,
          run<Set>,
          {"streamed", "rows in flight", "parts at once", nullptr},
          {"cpu::multiply (cpu/run.cpp)", kernels, nullptr}};
}

}  // namespace

constinit const gemm::Implementation scalar =
    implementation<ScalarSet>("cpu_scalar", "stream_blocks or tile_block (cpu/kernels_scalar.cpp, cpu/kernel/)");
constinit const gemm::Implementation avx2 =
    implementation<Avx2Set>("cpu_avx2", "stream_blocks or tile_block (cpu/kernels_avx2.cpp, cpu/kernel/)");
constinit const gemm::Implementation avx512 =
    implementation<Avx512Set>("cpu_avx512", "stream_blocks or tile_block (cpu/kernels_avx512.cpp, cpu/kernel/)");
constinit const gemm::Implementation amx =
    implementation<AmxSet>("cpu_amx", "matrix_blocks (cpu/kernels_amx.cpp, cpu/kernel/), or streams of cpu_avx512");

}  // namespace billfish::cpu
