// SPDX-License-Identifier: Apache-2.0
// The double-precision product on the device (cuda_measure.hpp) that large outputs are checked against. Obvious before fast: a product
// of a 16-bit activation and an f32 weight is exact in double, so only the additions round.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include "cuda/cuda.hpp"
#include "cuda/host.hpp"
#include "measure/cuda_measure.hpp"

namespace billfish::measure::cuda {
namespace {

using billfish::cuda::DeviceGuard;
using billfish::cuda::status_of;

constexpr int kTile = 64;  // rows and columns of a block
constexpr int kStep = 16;  // of K
constexpr int kEach = 4;   // rows and columns of a thread
constexpr int kThreads = (kTile / kEach) * (kTile / kEach);

__device__ double load(const void* base, ElementType type, std::int64_t i) {
  if (type == ElementType::f32) return static_cast<const float*>(base)[i];
  if (type == ElementType::f16) return __half2float(static_cast<const __half*>(base)[i]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(base)[i]);
}

__global__ void __launch_bounds__(kThreads) multiply_all(ProductCheck check) {
  __shared__ double a[kStep][kTile + 1], w[kStep][kTile + 1];
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.y) * kTile, column0 = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const int row = threadIdx.x / (kTile / kEach), column = threadIdx.x % (kTile / kEach);
  double sum[kEach][kEach] = {}, magnitude[kEach][kEach] = {};
  for (std::int64_t k0 = 0; k0 < check.k; k0 += kStep) {
    for (int i = threadIdx.x; i < kTile * kStep; i += kThreads) {
      const int line = i / kStep, k = i % kStep;
      const bool inside = k0 + k < check.k;
      a[k][line] = inside && row0 + line < check.m ? load(check.a, check.a_type, (row0 + line) * check.lda + k0 + k) : 0.0;
      w[k][line] = inside && column0 + line < check.n ? check.dense[(column0 + line) * check.k + k0 + k] : 0.0;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kStep; ++k) {
      double left[kEach], right[kEach];
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        left[i] = a[k][row + i * (kTile / kEach)];
        right[i] = w[k][column + i * (kTile / kEach)];
      }
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
          const double product = left[i] * right[j];
          sum[i][j] += product;
          magnitude[i][j] += fabs(product);
        }
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < kEach; ++i) {
    for (int j = 0; j < kEach; ++j) {
      const std::int64_t r = row0 + row + i * (kTile / kEach), c = column0 + column + j * (kTile / kEach);
      if (r >= check.m || c >= check.n) continue;
      check.y[r * check.n + c] = sum[i][j];
      check.magnitude[r * check.n + c] = magnitude[i][j];
    }
  }
}

// One warp an element.
__global__ void multiply_samples(ProductCheck check) {
  const std::int64_t sample = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (sample >= check.count) return;
  const std::int64_t row = check.rows[sample], column = check.columns[sample];
  double sum = 0, magnitude = 0;
  for (std::int64_t k = threadIdx.x % 32; k < check.k; k += 32) {
    const double product = load(check.a, check.a_type, row * check.lda + k) * check.dense[column * check.k + k];
    sum += product;
    magnitude += fabs(product);
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    magnitude += __shfl_xor_sync(0xffffffffu, magnitude, offset);
  }
  if (threadIdx.x % 32 == 0) {
    check.y[sample] = sum;
    check.magnitude[sample] = magnitude;
  }
}

}  // namespace

Status product_in_double(const ProductCheck& check, void* stream) {
  if (const auto here = billfish::cuda::facts(check.device); !here.ok()) return here.status();
  const DeviceGuard guard(check.device);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  const auto on = static_cast<cudaStream_t>(stream);
  if (check.rows != nullptr) {
    if (check.count <= 0) return {};
    multiply_samples<<<static_cast<unsigned>(ceil_div(check.count * 32, 256)), 256, 0, on>>>(check);
  } else {
    if (check.m <= 0 || check.n <= 0) return {};
    const dim3 grid(static_cast<unsigned>(ceil_div(check.n, kTile)), static_cast<unsigned>(ceil_div(check.m, kTile)));
    multiply_all<<<grid, kThreads, 0, on>>>(check);
  }
  return status_of(cudaGetLastError(), "multiplying in double");
}

}  // namespace billfish::measure::cuda
