// SPDX-License-Identifier: Apache-2.0
// Every set of kernels that a test can run on this machine: the implementations that it supports, and the AVX-512 and AMX sources with
// emulated instructions, which run everywhere.
#pragma once

#include <ostream>
#include <vector>

#include "cpu/cpu.hpp"
#include "cpu/kernels.hpp"
#include "gemm/registry.hpp"
#include "problems.hpp"
#include "reference/reference.hpp"

namespace billfish::cpu_tests {

extern const cpu::Arithmetic kEmulatedAvx512[cpu::kAvx512Arithmetics];
const cpu::Arithmetic* emulated_amx();

struct Backend {
  const char* name;
  const gemm::Implementation* implementation;
  const cpu::Arithmetic* table;  // null: the implementation's own
  gemm::DeviceFacts facts;

  std::string multiply(const Packed& p, const gemm::Problem& problem, const Rows& a, Rows& c, const Parallel& parallel = {}) const {
    return cpu_tests::multiply(*implementation, facts, p, problem, a, c, parallel, table);
  }
};
inline void PrintTo(const Backend& backend, std::ostream* out) { *out << backend.name; }

inline std::vector<Backend> backends() {
  gemm::DeviceFacts all;
  all.avx2 = all.avx512 = all.avx512_vnni = all.avx512_bf16 = true;
  gemm::DeviceFacts slow = all;
  slow.slow_bf16_dot = true;
  gemm::DeviceFacts matrices = slow;
  matrices.amx = true;
  std::vector<Backend> list = {{"scalar", &cpu::scalar, nullptr, all},
                               {"emulated_avx512", &cpu::avx512, kEmulatedAvx512, all},
                               {"emulated_avx512_slow_bf16", &cpu::avx512, kEmulatedAvx512, slow},
                               {"emulated_amx", &cpu::amx, emulated_amx(), matrices}};
  const gemm::DeviceFacts here = cpu::facts();
  if (here.avx2) {
    list.push_back({"avx2", &cpu::avx2, nullptr, all});
    // The ways with and without subnormal numbers, exchanged: the one that this machine does not take.
    static std::vector<cpu::Arithmetic> other(std::begin(cpu::kAvx2Arithmetic), std::end(cpu::kAvx2Arithmetic));
    for (const int i : {0, 1}) {
      other[static_cast<std::size_t>(i)] = cpu::kAvx2Arithmetic[4 + i];
      other[static_cast<std::size_t>(4 + i)] = cpu::kAvx2Arithmetic[i];
    }
    list.push_back({"avx2_other", &cpu::avx2, other.data(), all});
  }
  if (here.avx512_bf16 && here.avx512_vnni) list.push_back({"avx512", &cpu::avx512, nullptr, here});
  if (here.amx) list.push_back({"amx", &cpu::amx, nullptr, here});
  return list;
}

// Every element within the bound of reference/; the first that is not, or empty.
inline std::string judge(const Backend& backend, const Packed& p, const gemm::Problem& problem, const Rows& a, const Rows& c) {
  std::vector<reference::Sums> sums(static_cast<std::size_t>(problem.m * problem.n));
  reference::multiply(p.matrix, a.data(), problem.a, problem.m, a.stride, problem.bias, 0, problem.n, sums.data(), {});
  const reference::Rounding rounding = reference::rounding_of(problem, backend.implementation->plan(problem, backend.facts));
  for (std::int64_t row = 0; row < problem.m; ++row) {
    for (std::int64_t n = 0; n < problem.n; ++n) {
      const reference::Sums& s = sums[static_cast<std::size_t>(row * problem.n + n)];
      const double value = static_cast<double>(c.at(row, n));
      if (!reference::acceptable(rounding, problem.k, s, value)) {
        return gemm::describe(problem) + ": row " + std::to_string(row) + " column " + std::to_string(n) + " is " + std::to_string(value) +
               ", expected " + std::to_string(s.y) + " within " + std::to_string(reference::bound(rounding, problem.k, s));
      }
    }
  }
  return c.guards_hold() ? std::string() : gemm::describe(problem) + ": wrote outside of C";
}

}  // namespace billfish::cpu_tests
