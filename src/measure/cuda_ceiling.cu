// SPDX-License-Identifier: Apache-2.0
// How fast all multiprocessors together read device memory (cuda_measure.hpp): bulk copies into a ring of shared-memory stages from
// sm_90 on, 16-byte loads before. What arrives is not looked at.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

#include "cuda/cuda.hpp"
#include "cuda/host.hpp"
#include "cuda/memory.hpp"
#include "cuda/ptx/barrier.cuh"
#include "cuda/ptx/bulk_copy.cuh"
#include "measure/cuda_measure.hpp"
#include "measure/statistics.hpp"

namespace billfish::measure::cuda {
namespace {

using billfish::cuda::DeviceGuard;
using billfish::cuda::status_of;

constexpr int kStageBytes = 16 * 1024;
constexpr int kStages = 6;  // H200, 2026-11: 4 in flight already give 4.70 TB/s, more the same
constexpr int kRingBytes = kStages * kStageBytes;
constexpr int kLoadThreads = 512;

// One thread a block keeps the ring full; stage i of the block is piece blockIdx.x + i * gridDim.x.
__global__ void read_by_bulk_copies(const unsigned char* data, std::int64_t pieces) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) unsigned char ring[];
  __shared__ __align__(8) std::uint64_t barriers[kStages];
  const std::uint32_t barrier = ptx::shared_address(barriers);
  const std::uint32_t stage = ptx::shared_address(ring);
  for (int i = 0; i < kStages; ++i) ptx::mbarrier_init(barrier + 8 * i, 1);
  ptx::fence_mbarrier_init();
  const std::int64_t mine = blockIdx.x < pieces ? (pieces - 1 - blockIdx.x) / gridDim.x + 1 : 0;
  const auto fetch = [&](std::int64_t i) {
    const int slot = static_cast<int>(i % kStages);
    ptx::mbarrier_expect(barrier + 8 * slot, kStageBytes);
    ptx::bulk_copy(stage + slot * kStageBytes, data + (blockIdx.x + i * gridDim.x) * kStageBytes, kStageBytes, barrier + 8 * slot);
  };
  for (std::int64_t i = 0; i < mine && i < kStages; ++i) fetch(i);
  for (std::int64_t i = 0; i < mine; ++i) {
    ptx::mbarrier_wait(barrier + 8 * static_cast<int>(i % kStages), static_cast<int>(i / kStages % 2));
    if (i + kStages < mine) fetch(i + kStages);
  }
#endif
}

__global__ void read_by_loads(const uint4* data, std::int64_t count, unsigned* sink) {
  constexpr int kInFlight = 8;
  uint4 sum = {0, 0, 0, 0};
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += kInFlight * stride) {
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      const uint4 value = i + j * stride < count ? __ldcs(data + i + j * stride) : sum;
      sum.x ^= value.x;
      sum.y ^= value.y;
      sum.z ^= value.z;
      sum.w ^= value.w;
    }
  }
  if ((sum.x ^ sum.y ^ sum.z ^ sum.w) == 0x9e3779b9u) *sink = sum.x;  // keeps the loads alive; may write, never matters
}

Status launch(const gemm::DeviceFacts& facts, unsigned char* data, std::int64_t bytes, cudaStream_t stream) {
  if (facts.architecture >= 90) {
    read_by_bulk_copies<<<facts.multiprocessors, 1, kRingBytes, stream>>>(data, bytes / kStageBytes);
  } else {
    read_by_loads<<<4 * facts.multiprocessors, kLoadThreads, 0, stream>>>(reinterpret_cast<const uint4*>(data), bytes / 16,
                                                                          reinterpret_cast<unsigned*>(data));
  }
  return status_of(cudaGetLastError(), "launching the read loop");
}

struct Measured {
  const gemm::DeviceFacts* facts;
  unsigned char* data;
  std::int64_t bytes;
};

}  // namespace

Result<double> read_rate(int device, std::int64_t bytes) {
  const auto facts = billfish::cuda::facts(device);
  if (!facts.ok()) return facts.status();
  bytes = bytes / kStageBytes * kStageBytes;
  if (bytes <= 0) return invalid_argument("reading less than " + std::to_string(kStageBytes) + " bytes measures nothing");
  const DeviceGuard guard(device);
  if (Status status = guard.status(); !status.ok()) return status;
  const auto memory = billfish::cuda::allocate(device, static_cast<std::size_t>(bytes));
  if (!memory.ok()) return memory.status();
  Measured measured = {&*facts, static_cast<unsigned char*>(*memory), bytes};

  const auto time = [&]() -> Result<double> {
    if (facts->architecture >= 90) {
      const cudaError_t error = cudaFuncSetAttribute(read_by_bulk_copies, cudaFuncAttributeMaxDynamicSharedMemorySize, kRingBytes);
      if (Status status = status_of(error, "preparing the read loop"); !status.ok()) return status;
    }
    if (Status status = fill_bits(device, measured.data, bytes, 1, nullptr); !status.ok()) return status;
    const auto enqueue = [](void* user, std::int64_t, void* stream) {
      const Measured& m = *static_cast<Measured*>(user);
      return launch(*m.facts, m.data, m.bytes, static_cast<cudaStream_t>(stream));
    };
    const auto graph = create_graph(device, 1, enqueue, &measured);
    if (!graph.ok()) return graph.status();
    constexpr int kRounds = 20;
    Graph* const one[] = {*graph};
    std::vector<double> seconds(kRounds);
    Status status = time_graphs(one, kRounds, nullptr);  // warm-up
    if (status.ok()) static_cast<void>(status = time_graphs(one, kRounds, seconds.data()));
    destroy_graph(*graph);
    if (!status.ok()) return status;
    return static_cast<double>(bytes) / summarize(seconds).median;
  };
  Result<double> rate = time();
  billfish::cuda::free_memory(device, *memory);
  return rate;
}

}  // namespace billfish::measure::cuda
