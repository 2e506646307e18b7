// SPDX-License-Identifier: Apache-2.0
// The rate of f16 wgmma with its A operand in registers: what the tensor cores of a 9.0 device do at most (cuda_measure.hpp). Compiled
// for sm_90a only; called by cuda_figures.cu.
#include <cuda_runtime_api.h>

#include <vector>

#include "cuda/host.hpp"
#include "cuda/ptx/barrier.cuh"
#include "cuda/ptx/wgmma.cuh"
#include "measure/cuda_measure.hpp"
#include "measure/statistics.hpp"

namespace billfish::measure::cuda {
namespace {

constexpr int kGroups = 2;             // warpgroups of a block, one block a multiprocessor
constexpr int kTokens = 256;           // N of the instruction
constexpr int kPanel = kTokens * 128;  // 64 k of all tokens, 128-byte swizzle
constexpr int kSteps = 4'000;          // of four k16 each
constexpr int kRounds = 9;

__global__ void __launch_bounds__(128 * kGroups, 1) multiply(float* sink) {
  extern __shared__ __align__(1024) unsigned char panel[];
  for (int i = threadIdx.x; i < kPanel / 4; i += blockDim.x) {  // random halves of magnitude 0.25 .. 0.5
    reinterpret_cast<unsigned*>(panel)[i] = (static_cast<unsigned>(i) * 2654435761u & 0x83ff83ffu) | 0x34003400u;
  }
  asm volatile("fence.proxy.async;" ::: "memory");
  __syncthreads();
  const unsigned base = __shfl_sync(~0u, ptx::shared_address(panel), 0) & 0x3ffff;
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62, kEightTokens = std::uint64_t{1024 / 16} << 32;
  const std::uint64_t first = kSwizzle128 | kEightTokens | (base >> 4);
  std::uint32_t a[4][4];
  const unsigned seed = (blockIdx.x * blockDim.x + threadIdx.x) * 40503u + 1;
  for (int i = 0; i < 16; ++i) a[i / 4][i % 4] = (seed * (2 * i + 1) * 2654435761u & 0x83ff83ffu) | 0x34003400u;
  float sums[kTokens / 2];
  int accumulate = 0;
#pragma unroll 1
  for (int step = 0; step < kSteps; ++step) {
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) ptx::wgmma_rs<false>(sums, a[k], first + k * 2, k > 0 ? 1 : accumulate);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    accumulate = 1;
  }
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) asm volatile("" : "+f"(sums[i])::"memory");
  float total = 0;
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) total += sums[i];
  if (total == 12345.678f) *sink = total;
}

Status enqueue(void* user, std::int64_t, void* stream) {
  const int multiprocessors = *static_cast<const int*>(user);
  multiply<<<multiprocessors, 128 * kGroups, kPanel, static_cast<cudaStream_t>(stream)>>>(nullptr);
  return billfish::cuda::status_of(cudaGetLastError(), "multiplying with wgmma");
}

}  // namespace

Result<double> wgmma_rate(int device, int multiprocessors) {
  const auto graph = create_graph(device, 1, enqueue, &multiprocessors);
  if (!graph.ok()) return graph.status();
  Graph* const one[] = {*graph};
  std::vector<double> seconds(kRounds);
  const Status status = time_graphs(one, kRounds, seconds.data());
  destroy_graph(*graph);
  if (!status.ok()) return status;
  constexpr double kOperations = 2.0 * 64 * kTokens * 16 * 4;  // of a warpgroup's step
  return multiprocessors * kGroups * kSteps * kOperations / summarize(seconds).min;
}

}  // namespace billfish::measure::cuda
