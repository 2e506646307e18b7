// SPDX-License-Identifier: Apache-2.0
// billfish_implementation_count, billfish_implementation, billfish_explain.
#include <array>
#include <charconv>
#include <string>
#include <string_view>

#include "api/plans.hpp"
#include "api/problem_arguments.hpp"
#include "cpu/cpu.hpp"
#include "cuda/cuda.hpp"

namespace billfish::api {
namespace {

constexpr const char* kElementTypes = "0 (f32), 1 (f16), 2 (bf16)";

// A product that every implementation takes on a machine that it can run on: what it still refuses, the machine lacks.
gemm::Problem plain_problem() {
  gemm::Problem problem;
  problem.m = 1;
  problem.n = 4096;
  problem.k = 4096;
  problem.group = 128;
  return problem;
}

std::string reason_here(const gemm::Implementation& implementation) {
  const int devices = implementation.device == DeviceKind::cuda ? cuda::device_count() : 1;
  std::string reason;
  for (int index = 0; index < (devices > 0 ? devices : 1); ++index) {
    const Result<gemm::DeviceFacts> facts = facts_of({implementation.device, index});
    reason = facts.ok() ? gemm::refusal(implementation, plain_problem(), *facts) : facts.status().message();
    if (reason.empty()) return reason;
  }
  return reason;
}

constexpr std::size_t kMostImplementations = 16;
const std::string& kept_reason(std::size_t index) {
  static const auto reasons = [] {
    std::array<std::string, kMostImplementations> found;
    for (std::size_t i = 0; i < gemm::implementations().size(); ++i) found[i] = reason_here(*gemm::implementations()[i]);
    return found;
  }();
  return reasons[index];
}

Status describe_implementation(int index, billfish_implementation_info* out) {
  const auto list = gemm::implementations();
  BILLFISH_RETURN_IF_ERROR(check_size(out, "out"));
  if (index < 0 || static_cast<std::size_t>(index) >= list.size()) {
    return invalid_argument("index is " + std::to_string(index) + "; there are " + std::to_string(list.size()) + " implementations");
  }
  const gemm::Implementation& implementation = *list[static_cast<std::size_t>(index)];
  const std::string& reason = kept_reason(static_cast<std::size_t>(index));
  billfish_implementation_info info = BILLFISH_IMPLEMENTATION_INFO_INIT;
  info.name = implementation.name;
  info.device_kind = static_cast<billfish_device_kind>(implementation.device);
  info.available = reason.empty();
  info.reason = reason.c_str();
  write_struct(info, out);
  return {};
}

Status not_negative(const char* name, std::int64_t value) {
  return value >= 0 ? Status() : invalid_argument(std::string(name) + " is " + std::to_string(value) + "; it must be 0 or more");
}

}  // namespace

Status read_problem(const billfish_problem* given, gemm::Problem& out) {
  billfish_problem p;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, "problem", p));
  BILLFISH_RETURN_IF_ERROR(check_reserved("problem->reserved", p.reserved));
  BILLFISH_RETURN_IF_ERROR(not_negative("problem->m", p.m));
  BILLFISH_RETURN_IF_ERROR(not_negative("problem->n", p.n));
  BILLFISH_RETURN_IF_ERROR(not_negative("problem->k", p.k));
  BILLFISH_RETURN_IF_ERROR(not_negative("problem->threads", p.threads));
  // As for the arrays of a call, whose bytes must be countable: no plan's own products of sizes can overflow then.
  constexpr std::int64_t kLargestSide = std::int64_t{1} << 40;
  constexpr double kLargestArray = 0x1p59;
  const auto m = static_cast<double>(p.m), n = static_cast<double>(p.n), k = static_cast<double>(p.k);
  if (p.m > kLargestSide || p.n > kLargestSide || p.k > kLargestSide || m * n > kLargestArray || m * k > kLargestArray ||
      n * k > kLargestArray) {
    return invalid_argument("problem->m, n and k are " + std::to_string(p.m) + ", " + std::to_string(p.n) + " and " + std::to_string(p.k) +
                            "; supported are sides up to 2^40 and arrays of up to 2^59 elements");
  }
  if (p.group < -1 || p.group == 0) {
    return invalid_argument("problem->group is " + std::to_string(p.group) +
                            "; supported are a positive number of codes, or -1 for one group of all");
  }
  if (p.workspace_bytes < -1) {
    return invalid_argument("problem->workspace_bytes is " + std::to_string(p.workspace_bytes) + "; it must be 0 or more, or -1 for any");
  }
  BILLFISH_RETURN_IF_ERROR(read_enum("problem->type", p.type, 4, "0 (u4b8), 1 (u4), 2 (u8b128), 3 (u8)", out.weight));
  BILLFISH_RETURN_IF_ERROR(read_enum("problem->a_type", p.a_type, 3, kElementTypes, out.a));
  BILLFISH_RETURN_IF_ERROR(read_enum("problem->c_type", p.c_type, 3, kElementTypes, out.c));
  BILLFISH_RETURN_IF_ERROR(read_enum("problem->scale_type", p.scale_type, 3, kElementTypes, out.scale));
  BILLFISH_RETURN_IF_ERROR(read_enum("problem->precision", p.precision, 3, "0 (full), 1 (bf16), 2 (int8)", out.precision));
  constexpr std::uint32_t kFlags =
      BILLFISH_GEMM_NO_BIAS | BILLFISH_GEMM_BATCH_INVARIANT | BILLFISH_GEMM_DEPENDENT_LAUNCH | BILLFISH_GEMM_ZEROED_WORKSPACE;
  if ((p.flags & ~kFlags) != 0) {
    return invalid_argument("problem->flags is " + std::to_string(p.flags) +
                            "; known are 1 (no bias), 2 (batch invariant), 4 (dependent launch) and 8 (zeroed workspace)");
  }
  out.m = p.m;
  out.n = p.n;
  out.k = p.k;
  out.group = p.k == 0 ? 1 : resolve_group(p.group, p.k);
  out.act_order = p.act_order != 0;
  out.bias = p.bias != 0 && (p.flags & BILLFISH_GEMM_NO_BIAS) == 0;
  out.wide_scales = p.wide_scales != 0;
  out.batch_invariant = (p.flags & BILLFISH_GEMM_BATCH_INVARIANT) != 0;
  out.dependent_launch = (p.flags & BILLFISH_GEMM_DEPENDENT_LAUNCH) != 0;
  out.zeroed_workspace = (p.flags & BILLFISH_GEMM_ZEROED_WORKSPACE) != 0;
  // As for dense arrays whose base allows vectors.
  out.aligned_a = p.k * bytes_of(out.a) % 16 == 0 || p.m <= 1;
  out.aligned_c = p.n * bytes_of(out.c) % 16 == 0 || p.m <= 1;
  out.threads = p.threads > 0 ? p.threads : usable_threads();
  out.workspace_bytes = p.workspace_bytes;
  return {};
}

Result<gemm::DeviceFacts> facts_named(const char* name) {
  if (name == nullptr) return facts_of({cuda::device_count() > 0 ? DeviceKind::cuda : DeviceKind::cpu, 0});
  const std::string_view text = name;
  if (text == "cpu") return cpu::facts();
  if (text == "cuda") return cuda::facts(0);
  const auto number_behind = [&](std::string_view prefix) {
    int number = -1;
    if (!text.starts_with(prefix)) return -1;
    const auto [end, error] = std::from_chars(text.data() + prefix.size(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() ? number : -1;
  };
  if (const int index = number_behind("cuda:"); index >= 0) return cuda::facts(index);
  if (const int architecture = number_behind("sm_"); architecture >= 10 && architecture < 1000) return cuda::typical_facts(architecture);
  return invalid_argument("device is \"" + std::string(text) +
                          "\"; supported are cpu, cuda, cuda:<index>, sm_<architecture> (sm_80, sm_90)");
}

namespace {

Status explain_problem(const billfish_problem* given, const char* device, const char* implementation, int json, char* buffer,
                       std::size_t capacity, std::size_t* length) {
  if (buffer == nullptr && capacity != 0) return null_argument("buffer");
  write_text("", buffer, capacity, length);
  gemm::Problem problem;
  BILLFISH_RETURN_IF_ERROR(read_problem(given, problem));
  const gemm::Implementation* forced = nullptr;
  BILLFISH_RETURN_IF_ERROR(find_forced(implementation, forced));
  const Result<gemm::DeviceFacts> facts = facts_named(device);
  if (!facts.ok()) return facts.status();
  const std::string_view force = forced != nullptr ? forced->name : "";
  const PlanTable tuned = current_plans();
  write_text(gemm::explain(problem, *facts, force, json != 0, tuned.get()), buffer, capacity, length);
  return gemm::choose_plan(problem, *facts, force, tuned.get()).status();
}

}  // namespace
}  // namespace billfish::api

extern "C" {

int billfish_implementation_count(void) { return static_cast<int>(billfish::gemm::implementations().size()); }

billfish_status billfish_implementation(int index, billfish_implementation_info* out) {
  return billfish::api::guarded([&] { return billfish::api::describe_implementation(index, out); });
}

billfish_status billfish_explain(const billfish_problem* problem, const char* device, const char* implementation, int json, char* buffer,
                                 size_t capacity, size_t* length) {
  return billfish::api::guarded(
      [&] { return billfish::api::explain_problem(problem, device, implementation, json, buffer, capacity, length); });
}

}  // extern "C"
