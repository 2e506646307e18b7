// SPDX-License-Identifier: Apache-2.0
// How the tiles of a matrix are cut into tasks. Called by codes.cpp and codes_back.cpp.
#pragma once

#include <algorithm>

#include "core/matrix.hpp"
#include "core/threads.hpp"
#include "layout/marlin_weights.hpp"

namespace billfish::pack {

struct TileGrid {
  std::int64_t k_tiles, n_tiles;  // of the matrix
  std::int64_t task_k, task_n;    // tiles of one task
};

// Tasks of up to 1,024 tiles (half a megabyte, 4-bit), several for every thread. `by_strip`: long in k and one tile wide, for sources whose
// neighbours in memory are neighbours in k, or whose rows are in any order; else wide in n. A strip's depth is a multiple of `step_k`.
inline TileGrid cut_tiles(const MatrixShape& shape, const Parallel& parallel, bool by_strip, std::int64_t step_k) {
  TileGrid grid = {shape.padded_k() / layout::kTileK, shape.padded_n() / layout::kTileN, 1, 1};
  const std::int64_t tiles = std::clamp<std::int64_t>(grid.k_tiles * grid.n_tiles / (std::int64_t{8} * parallel.threads()), 16, 1024);
  if (by_strip) {
    grid.task_k = std::min(round_up(std::max(tiles, step_k), step_k), grid.k_tiles);
    grid.task_n = std::max<std::int64_t>(1, tiles / grid.task_k);
  } else {
    grid.task_n = std::min(tiles, grid.n_tiles);
    grid.task_k = std::max<std::int64_t>(1, tiles / grid.task_n);
  }
  return grid;
}

struct TileRange {
  std::int64_t k0, k1, n0, n1;  // tiles
};

// body(TileRange) for tasks that cover the grid.
template <class Body>
void run_tiles(const TileGrid& grid, const Parallel& parallel, Body&& body) {
  if (grid.k_tiles == 0 || grid.n_tiles == 0) return;
  const std::int64_t across = ceil_div(grid.n_tiles, grid.task_n);
  parallel.run(ceil_div(grid.k_tiles, grid.task_k) * across, [&](std::int64_t task) {
    const std::int64_t k0 = task / across * grid.task_k, n0 = task % across * grid.task_n;
    body(TileRange{k0, std::min(k0 + grid.task_k, grid.k_tiles), n0, std::min(n0 + grid.task_n, grid.n_tiles)});
  });
}

}  // namespace billfish::pack
