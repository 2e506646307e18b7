// SPDX-License-Identifier: Apache-2.0
// What a CUDA device does at most (cuda_measure.hpp: figures): bandwidths, latencies, launches, the tensor cores. Called by api/
// (billfish_tools_cuda_figures); times everything with replayed graphs, as `bench` does.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

#include "cuda/cuda.hpp"
#include "cuda/host.hpp"
#include "cuda/memory.hpp"
#include "cuda/ptx/mma.cuh"
#include "measure/cuda_measure.hpp"
#include "measure/statistics.hpp"

namespace billfish::measure::cuda {
namespace {

using billfish::cuda::DeviceGuard;
using billfish::cuda::status_of;

constexpr std::int64_t kBytes = std::int64_t{2} << 30;  // far beyond any L2
constexpr std::int64_t kMostL2Bytes = std::int64_t{16} << 20;
constexpr int kL2Passes = 64;
constexpr int kRounds = 9;
constexpr int kChain = 1000;  // launches

__global__ void nothing() {}

// All threads together read the buffer kL2Passes times, past the L1.
__global__ void read_l2(const uint4* data, int count, unsigned* sink) {
  constexpr int kInFlight = 4;
  unsigned sum = 0;
  const int stride = gridDim.x * blockDim.x;
  for (int pass = 0; pass < kL2Passes; ++pass) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += kInFlight * stride) {
      uint4 value[kInFlight] = {};
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) {
        // volatile: every pass loads again
        if (i + j * stride < count) {
          asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                       : "=r"(value[j].x), "=r"(value[j].y), "=r"(value[j].z), "=r"(value[j].w)
                       : "l"(data + i + j * stride));
        }
      }
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) sum ^= value[j].x ^ value[j].y ^ value[j].z ^ value[j].w;
    }
  }
  if (sum == 0x9e3779b9u) *sink = sum;  // keeps the loads alive
}

constexpr int kSharedWords = 8192;  // 32 KB a block
constexpr int kSharedThreads = 1024;
constexpr int kSharedLoads = 4096;  // of 16 bytes, a thread

__global__ void __launch_bounds__(kSharedThreads) read_shared(unsigned* sink) {
  __shared__ __align__(16) unsigned words[kSharedWords];
  for (int i = threadIdx.x; i < kSharedWords; i += blockDim.x) words[i] = i * 2654435761u;
  __syncthreads();
  const unsigned base = static_cast<unsigned>(__cvta_generic_to_shared(words));
  constexpr int kInFlight = 8;
  unsigned sum = 0;
  for (int i = 0; i < kSharedLoads; i += kInFlight) {
    uint4 value[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      const unsigned at = base + (threadIdx.x * 16 + j * 2048) % (kSharedWords * 4);
      asm volatile("ld.volatile.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(value[j].x), "=r"(value[j].y), "=r"(value[j].z), "=r"(value[j].w)
                   : "r"(at));
    }
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) sum ^= value[j].x ^ value[j].y ^ value[j].z ^ value[j].w;
  }
  if (sum == 0x9e3779b9u) *sink = sum;
}

constexpr int kSlotWords = 32;                            // 256 bytes apart: no two in a sector
constexpr int kFarSlots = 1 << 20, kNearSlots = 1 << 13;  // 256 MB, 2 MB
constexpr int kSteps = 1 << 13;                           // of a walk; the near one visits every slot once

// A full-period linear congruence: slot i points to the next of a walk through all of them.
__global__ void make_walk(unsigned long long* slots, unsigned count) {
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    slots[static_cast<std::size_t>(i) * kSlotWords] = (i * 1664525u + 1013904223u) % count;
  }
}
__global__ void walk(const unsigned long long* slots, unsigned long long* sink) {
  unsigned long long at = 0;
  for (int i = 0; i < kSteps; ++i) at = __ldcg(slots + at * kSlotWords);
  *sink = at;
}

constexpr int kMmaThreads = 256;
constexpr int kMmaSteps = 20'000;
constexpr int kMmaChains = 8;  // independent sums of a warp: more than the pipeline is deep

__global__ void __launch_bounds__(kMmaThreads) multiply(float* sink) {
  float sums[kMmaChains][4] = {};
  unsigned a[4], b[2];
  const unsigned seed = (blockIdx.x * blockDim.x + threadIdx.x) * 2654435761u;
  for (int i = 0; i < 4; ++i) a[i] = ((seed >> i) * 40503u & 0x83ff83ffu) | 0x34003400u;  // random halves of magnitude 0.25 .. 0.5
  for (int i = 0; i < 2; ++i) b[i] = ((seed >> (i + 4)) * 30011u & 0x83ff83ffu) | 0x34003400u;
#pragma unroll 1
  for (int step = 0; step < kMmaSteps; ++step) {
#pragma unroll
    for (int chain = 0; chain < kMmaChains; ++chain) ptx::mma_m16n8k16<false>(sums[chain], a, b[0], b[1]);
  }
  float total = 0;
  for (const auto& sum : sums) total += sum[0] + sum[1] + sum[2] + sum[3];
  if (total == 12345.678f) *sink = total;
}

struct Job {
  int device, multiprocessors;
  unsigned char* memory;  // kBytes
  std::int64_t l2_bytes;  // a part of the L2 that one of its partitions holds
};

// Median seconds of `calls` of them in a replayed graph.
Result<double> seconds_of(const Job& job, std::int64_t calls, EnqueueFn enqueue) {
  const auto graph = create_graph(job.device, calls, enqueue, const_cast<Job*>(&job));
  if (!graph.ok()) return graph.status();
  Graph* const one[] = {*graph};
  std::vector<double> seconds(kRounds);
  Status status = time_graphs(one, 2, nullptr);  // warm-up
  if (status.ok()) static_cast<void>(status = time_graphs(one, kRounds, seconds.data()));
  destroy_graph(*graph);
  if (!status.ok()) return status;
  return summarize(seconds).median;
}

const Job& job_of(void* user) { return *static_cast<Job*>(user); }
Status launched(const char* what) { return status_of(cudaGetLastError(), what); }

Status enqueue_copy(void* user, std::int64_t, void* stream) {
  const Job& job = job_of(user);
  return status_of(
      cudaMemcpyAsync(job.memory + kBytes / 2, job.memory, kBytes / 2, cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream)),
      "copying device memory");
}
Status enqueue_l2(void* user, std::int64_t, void* stream) {
  const Job& job = job_of(user);
  read_l2<<<2 * job.multiprocessors, 1024, 0, static_cast<cudaStream_t>(stream)>>>(
      reinterpret_cast<const uint4*>(job.memory), static_cast<int>(job.l2_bytes / 16), reinterpret_cast<unsigned*>(job.memory));
  return launched("reading the L2");
}
Status enqueue_shared(void* user, std::int64_t, void* stream) {
  const Job& job = job_of(user);
  read_shared<<<2 * job.multiprocessors, kSharedThreads, 0, static_cast<cudaStream_t>(stream)>>>(reinterpret_cast<unsigned*>(job.memory));
  return launched("reading shared memory");
}
Status enqueue_walk(void* user, std::int64_t, void* stream) {
  const Job& job = job_of(user);
  const auto* slots = reinterpret_cast<const unsigned long long*>(job.memory);
  walk<<<1, 1, 0, static_cast<cudaStream_t>(stream)>>>(slots, reinterpret_cast<unsigned long long*>(job.memory + kBytes / 2));
  return launched("walking through memory");
}
Status enqueue_nothing(void*, std::int64_t, void* stream) {
  nothing<<<1, 32, 0, static_cast<cudaStream_t>(stream)>>>();
  return launched("launching an empty kernel");
}
Status enqueue_multiply(void* user, std::int64_t, void* stream) {
  const Job& job = job_of(user);
  multiply<<<2 * job.multiprocessors, kMmaThreads, 0, static_cast<cudaStream_t>(stream)>>>(reinterpret_cast<float*>(job.memory));
  return launched("multiplying on the tensor cores");
}

// Nanoseconds a step of a walk through `slots` slots. The near walk is in the L2 after its first round; the far one never is.
Result<double> latency(const Job& job, int slots) {
  make_walk<<<1024, 256>>>(reinterpret_cast<unsigned long long*>(job.memory), static_cast<unsigned>(slots));
  BILLFISH_RETURN_IF_ERROR(launched("preparing a walk through memory"));
  BILLFISH_RETURN_IF_ERROR(status_of(cudaDeviceSynchronize(), "preparing a walk through memory"));
  if (slots > kSteps) {  // fill the L2 with something else between two walks
    const auto seconds = seconds_of(job, 1, [](void* user, std::int64_t i, void* stream) {
      const Status flushed = status_of(
          cudaMemsetAsync(job_of(user).memory + kBytes / 2 + 256, 1, kBytes / 4, static_cast<cudaStream_t>(stream)), "clearing the L2");
      return flushed.ok() ? enqueue_walk(user, i, stream) : flushed;
    });
    const auto flush = seconds_of(job, 1, [](void* user, std::int64_t, void* stream) {
      return status_of(cudaMemsetAsync(job_of(user).memory + kBytes / 2 + 256, 1, kBytes / 4, static_cast<cudaStream_t>(stream)),
                       "clearing the L2");
    });
    if (!seconds.ok()) return seconds.status();
    if (!flush.ok()) return flush.status();
    return (*seconds - *flush) / kSteps * 1e9;
  }
  const auto seconds = seconds_of(job, 1, enqueue_walk);
  if (!seconds.ok()) return seconds.status();
  return *seconds / kSteps * 1e9;
}

// Microseconds a launch of a chain launched one by one, and of one that is waited for: by the host's clock.
Status time_launches(Figures& figures) {
  cudaStream_t stream = nullptr;
  BILLFISH_RETURN_IF_ERROR(status_of(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream"));
  std::vector<double> chains, trips;
  Status status;
  for (int round = 0; round < kRounds + 1 && status.ok(); ++round) {
    const double start = now();
    for (int i = 0; i < kChain && status.ok(); ++i) static_cast<void>(status = enqueue_nothing(nullptr, i, stream));
    if (status.ok()) static_cast<void>(status = status_of(cudaStreamSynchronize(stream), "launching empty kernels"));
    if (round > 0) chains.push_back((now() - start) / kChain * 1e6);
  }
  for (int i = 0; i < 20 * kRounds && status.ok(); ++i) {
    const double start = now();
    static_cast<void>(status = enqueue_nothing(nullptr, i, stream));
    if (status.ok()) static_cast<void>(status = status_of(cudaStreamSynchronize(stream), "launching an empty kernel"));
    trips.push_back((now() - start) * 1e6);
  }
  (void)cudaStreamDestroy(stream);
  if (!status.ok()) return status;
  figures.launch_us = summarize(chains).median;
  figures.round_trip_us = summarize(trips).median;
  return {};
}

Status measure_all(const Job& job, Figures& figures) {
  const auto put = [](Result<double> seconds, double amount, double& out) -> Status {
    if (!seconds.ok()) return seconds.status();
    out = amount / *seconds;
    return {};
  };
  const double sms = job.multiprocessors;
  BILLFISH_RETURN_IF_ERROR(fill_bits(job.device, job.memory, kBytes, 1, nullptr));
  BILLFISH_RETURN_IF_ERROR(put(seconds_of(job, 1, enqueue_copy), static_cast<double>(kBytes) * 1e-9, figures.copy_gbps));
  BILLFISH_RETURN_IF_ERROR(put(seconds_of(job, 1, enqueue_l2), static_cast<double>(job.l2_bytes) * kL2Passes * 1e-9, figures.l2_gbps));
  BILLFISH_RETURN_IF_ERROR(put(seconds_of(job, 1, enqueue_shared), 2 * sms * kSharedThreads * kSharedLoads * 16e-9, figures.shared_gbps));
  constexpr double kMmaOperations = 2.0 * 16 * 8 * 16;
  BILLFISH_RETURN_IF_ERROR(put(seconds_of(job, 1, enqueue_multiply),
                               2 * sms * (kMmaThreads / 32) * kMmaChains * kMmaSteps * kMmaOperations * 1e-12, figures.mma_tflops));
  BILLFISH_RETURN_IF_ERROR(put(seconds_of(job, kChain, enqueue_nothing), 1.0, figures.graph_us));
  figures.graph_us = 1e6 / figures.graph_us / kChain;
  BILLFISH_RETURN_IF_ERROR(time_launches(figures));
  const auto near = latency(job, kNearSlots), far = latency(job, kFarSlots);
  if (!near.ok()) return near.status();
  if (!far.ok()) return far.status();
  figures.l2_ns = *near;
  figures.memory_ns = *far;
  return {};
}

}  // namespace

int runtime_version() { return CUDART_VERSION; }

Result<Figures> figures(int device) {
  const auto facts = billfish::cuda::facts(device);
  if (!facts.ok()) return facts.status();
  const DeviceGuard guard(device);
  if (Status status = guard.status(); !status.ok()) return status;
  Figures figures;
  const auto read = read_rate(device, kBytes);
  if (!read.ok()) return read.status();
  figures.read_gbps = *read * 1e-9;
  if (facts->architecture == 90) {
    const auto rate = wgmma_rate(device, facts->multiprocessors);
    if (!rate.ok()) return rate.status();
    figures.wgmma_tflops = *rate * 1e-12;
  }
  const auto memory = billfish::cuda::allocate(device, static_cast<std::size_t>(kBytes));
  if (!memory.ok()) return memory.status();
  int l2_bytes = 0;
  if (cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device) != cudaSuccess) l2_bytes = 4 << 20;
  // Partitions may each hold a copy of what their multiprocessors read: a quarter fits into every half.
  const Job job = {device, facts->multiprocessors, static_cast<unsigned char*>(*memory),
                   std::min<std::int64_t>(kMostL2Bytes, l2_bytes / 4)};
  const Status status = measure_all(job, figures);
  billfish::cuda::free_memory(device, *memory);
  if (!status.ok()) return status;
  return figures;
}

}  // namespace billfish::measure::cuda
