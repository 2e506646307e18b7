// SPDX-License-Identifier: Apache-2.0
// How this room's loops are cut: strips of columns, whole 64-column tiles, by index and never by thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/matrix.hpp"
#include "core/threads.hpp"
#include "pack/tile_kernels.hpp"

namespace billfish::pack {

// body(n0, n1) for strips that cover the padded columns; n0 and n1 are multiples of 64.
template <class Body>
void run_strips(const MatrixShape& shape, const Parallel& parallel, Body&& body) {
  constexpr std::int64_t kColumns = 4 * kStripColumns;
  parallel.run(ceil_div(shape.padded_n(), kColumns),
               [&](std::int64_t strip) { body(strip * kColumns, std::min(strip * kColumns + kColumns, shape.padded_n())); });
}

// The smallest of what the tasks found: the first fault, whoever saw it first.
inline void keep_smallest(std::atomic<std::int64_t>& kept, std::int64_t found) {
  std::int64_t current = kept.load(std::memory_order_relaxed);
  while (found < current && !kept.compare_exchange_weak(current, found)) {
  }
}

}  // namespace billfish::pack
