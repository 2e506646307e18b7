// SPDX-License-Identifier: Apache-2.0
// Choosing: from a problem to which arithmetic, which kind of kernel and how the workspace is cut. Pure functions.
// Called by implementations.cpp and run.cpp; calls nothing but the table of arithmetics.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "cpu/kernels.hpp"
#include "gemm/problem.hpp"

namespace billfish::cpu {

// Where everything lies in the workspace, in bytes from its first multiple of 64.
struct Workspace {
  int rows = 0;  // rows of A in flight: a row block
  int tiles = 0;
  bool stream = false;
  std::int64_t items = 1;  // that the blocks of columns are cut into, as even as can be: threads take one after the other
  int stream_blocks = 1;   // of the largest item
  int row_parts = 1;       // tile: a row block is cut further where columns alone do not feed all threads
  int slots = 1;           // parts that run at once, each with its own panel and sums
  std::int64_t chunks = 0;
  std::int64_t a = 0, row_scales = 0, row_sums = 0, begins = 0, unusual = 0, slot = 0;
  std::int64_t slot_bytes = 0, panel_bytes = 0;
  std::int64_t bytes = 0;  // all, with room to align
};

// A table for AMX: its own, and those of AVX-512 for the fewest rows.
inline std::array<Arithmetic, kAmxArithmetics + kAvx512Arithmetics> join_arithmetics(const Arithmetic (&own)[kAmxArithmetics],
                                                                                     const Arithmetic (&few)[kAvx512Arithmetics]) {
  std::array<Arithmetic, kAmxArithmetics + kAvx512Arithmetics> joined;
  std::copy(std::begin(few), std::end(few), std::copy(std::begin(own), std::end(own), joined.begin()));
  return joined;
}
const Arithmetic* amx_arithmetic();

// Which of a table's arithmetics: its precision, but for bf16 activations, which `full` need not take apart.
int arithmetic_index(const gemm::Problem&, const gemm::DeviceFacts&, const Arithmetic* table);
std::int64_t group_steps_of(const gemm::Problem&);
// For `rows` rows in flight and `slots` slots.
Workspace cut(const gemm::Problem&, const Kernels&, int rows, int slots);
// Those after the first take activations that the ones before screen; null where there are none.
std::array<const Kernels*, 3> kernels_in_turn(const Arithmetic&, bool stream);
// Within problem.workspace_bytes if that is >= 0 and possible; else the smallest there is.
Workspace choose_workspace(const gemm::Problem&, const Arithmetic&);

}  // namespace billfish::cpu
