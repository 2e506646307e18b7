// SPDX-License-Identifier: Apache-2.0
// Kernels that go through whole matrices element by element: what the factor and second moments need beside cuBLAS and cuSOLVER. Called by
// engine.cu. All are bound by memory and take a few milliseconds of what cuBLAS takes a hundred for.
#pragma once

#include <cstdint>

#include "core/half.hpp"
#include "cuda/quantize/shapes.cuh"
#include "quantize/engine.hpp"

namespace billfish::cuda::quantizing {

__global__ void __launch_bounds__(kThreads) add(std::int64_t count, float alpha, const float* x, float* y) {
  if (const std::int64_t i = thread_index(); i < count) y[i] += alpha * x[i];
}

// A block a row of the lower triangle (quantize::BuildJob).
__global__ void __launch_bounds__(kThreads) build(const __grid_constant__ quantize::BuildJob job) {
  const std::int64_t k = job.k, r = blockIdx.x, column = job.order[k - 1 - r];
  const bool dead = job.dead[column] != 0;
  for (std::int64_t s = threadIdx.x; s < r; s += kThreads) {
    const std::int64_t other = job.order[k - 1 - s];
    job.a[r * k + s] = dead || job.dead[other] != 0 ? 0.0f : static_cast<float>(job.h[column * k + other] * job.down);
  }
  if (threadIdx.x == 0) {
    job.a[r * k + r] = (dead ? 1.0f : static_cast<float>(job.h[column * k + column] * job.down)) + static_cast<float>(job.damping);
  }
}

__global__ void __launch_bounds__(kThreads) reverse(std::int64_t count, float* a) {
  const std::int64_t i = thread_index();
  if (i >= count / 2) return;
  const float first = a[i];
  a[i] = a[count - 1 - i];
  a[count - 1 - i] = first;
}

__global__ void __launch_bounds__(kThreads) square_diagonal(std::int64_t k, const float* a, float* pivots, float* inverse) {
  const std::int64_t i = thread_index();
  if (i >= k) return;
  const float root = a[i * (k + 1)];
  pivots[i] = root * root;
  inverse[i] = 1.0f / root;
}

// A block a row: what is right of the diagonal.
__global__ void __launch_bounds__(kThreads) scale_columns(std::int64_t k, const float* inverse, float* a) {
  const std::int64_t row = blockIdx.x;
  for (std::int64_t column = row + 1 + threadIdx.x; column < k; column += kThreads) a[row * k + column] *= inverse[column];
}

__global__ void __launch_bounds__(kThreads) widen(std::int64_t count, ElementType type, const std::uint16_t* from, float* to) {
  const std::int64_t i = thread_index();
  if (i < count) to[i] = type == ElementType::f16 ? f16_to_f32(from[i]) : bf16_to_f32(from[i]);
}

// The lower triangle to the upper one, a tile a block.
__global__ void __launch_bounds__(kTile* kTileRows) mirror(std::int64_t k, float* h) {
  __shared__ float tile[kTile][kTile + 1];
  if (blockIdx.x > blockIdx.y) return;
  const std::int64_t row = std::int64_t{blockIdx.y} * kTile, column = std::int64_t{blockIdx.x} * kTile;
  for (int i = threadIdx.y; i < kTile; i += kTileRows) {
    if (row + i < k && column + threadIdx.x < k) tile[i][threadIdx.x] = h[(row + i) * k + column + threadIdx.x];
  }
  __syncthreads();
  for (int i = threadIdx.y; i < kTile; i += kTileRows) {
    const std::int64_t to_row = column + i, to_column = row + threadIdx.x;
    if (to_row < to_column && to_column < k) h[to_row * k + to_column] = tile[threadIdx.x][i];
  }
}

__global__ void __launch_bounds__(kThreads) take_diagonal(std::int64_t k, const float* h, float* to) {
  if (const std::int64_t i = thread_index(); i < k) to[i] = h[i * (k + 1)];
}

// A block a row of `words` words.
__global__ void __launch_bounds__(kThreads)
    scatter_rows(std::int64_t words, const std::int32_t* order, const std::uint32_t* from, std::uint32_t* to) {
  const std::int64_t place = blockIdx.x;
  for (std::int64_t i = threadIdx.x; i < words; i += kThreads) to[order[place] * words + i] = from[place * words + i];
}

}  // namespace billfish::cuda::quantizing
