// SPDX-License-Identifier: Apache-2.0
// Random data made on the device, and packed weights made dense there (cuda_measure.hpp). Calls layout/ for where every code lies.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <algorithm>

#include "cuda/cuda.hpp"
#include "cuda/host.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"
#include "measure/cuda_measure.hpp"

namespace billfish::measure::cuda {
namespace {

using billfish::cuda::DeviceGuard;
using billfish::cuda::status_of;

constexpr int kThreads = 256;
constexpr std::int64_t kMostBlocks = 132 * 32;

int blocks_for(std::int64_t work) { return static_cast<int>(std::clamp<std::int64_t>(ceil_div(work, kThreads), 1, kMostBlocks)); }

// splitmix64: every output bit depends on every input bit, so that element i needs only i.
__device__ std::uint64_t hash(std::uint64_t seed, std::int64_t index) {
  std::uint64_t z = seed + 0x9e3779b97f4a7c15u * (static_cast<std::uint64_t>(index) + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

__device__ std::int64_t first_index() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ std::int64_t index_stride() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

__device__ float load(const void* base, ElementType type, std::int64_t i) {
  if (type == ElementType::f32) return static_cast<const float*>(base)[i];
  if (type == ElementType::f16) return __half2float(static_cast<const __half*>(base)[i]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(base)[i]);
}
__device__ void store(void* base, ElementType type, std::int64_t i, float value) {
  if (type == ElementType::f32) {
    static_cast<float*>(base)[i] = value;
  } else if (type == ElementType::f16) {
    static_cast<__half*>(base)[i] = __float2half_rn(value);
  } else {
    static_cast<__nv_bfloat16*>(base)[i] = __float2bfloat16_rn(value);
  }
}

__global__ void write_bits(std::uint64_t* target, std::int64_t words, std::uint64_t seed) {
  for (std::int64_t i = first_index(); i < words; i += index_stride()) target[i] = hash(seed, i);
}
__global__ void write_last_bits(unsigned char* target, std::int64_t begin, std::int64_t end, std::uint64_t seed) {
  for (std::int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) target[i] = static_cast<unsigned char>(hash(seed, i));
}
__global__ void write_uniform(void* target, ElementType type, std::int64_t count, float low, float width, std::uint64_t seed) {
  for (std::int64_t i = first_index(); i < count; i += index_stride()) {
    const float unit = static_cast<float>(hash(seed, i) >> 40) * 0x1p-24f;
    store(target, type, i, low + width * unit);
  }
}

__global__ void write_dense(PackedMatrix w, ElementType type, void* target) {
  const int bits = bits_of(w.type);
  const std::int64_t padded_n = w.padded_n(), elements = w.n * w.k;
  for (std::int64_t i = first_index(); i < elements; i += index_stride()) {
    const std::int64_t n = i / w.k, k = i % w.k;  // packed row order: neighbours share words
    const layout::Place code = layout::marlin_code(bits, k, n, padded_n);
    const std::int64_t group = w.g_idx != nullptr ? w.g_idx[k] : k / w.group;
    int zero = implicit_zero(w.type);
    if (has_zeros(w.type)) {
      const layout::Place place = layout::marlin_zero(bits, group, n, padded_n);
      zero = static_cast<int>(layout::field_of(w.zeros[place.word], place.shift, bits));
    }
    const float scale = load(w.scales, w.scale_type, group * padded_n + layout::marlin_scale(w.per_column(), n));
    const int difference = static_cast<int>(layout::field_of(w.codes[code.word], code.shift, bits)) - zero;
    const std::int64_t row = w.perm != nullptr ? w.perm[k] : k;
    store(target, type, n * w.k + row, scale * static_cast<float>(difference));
  }
}

__global__ void gather_elements(const void* source, ElementType type, std::int64_t ld, const std::int32_t* rows,
                                const std::int32_t* columns, std::int64_t count, float* target) {
  for (std::int64_t i = first_index(); i < count; i += index_stride()) target[i] = load(source, type, rows[i] * ld + columns[i]);
}

Status on_device(int device) {
  const auto here = billfish::cuda::facts(device);
  return here.ok() ? Status() : here.status();
}

}  // namespace

Status fill_bits(int device, void* target, std::int64_t bytes, std::uint64_t seed, void* stream) {
  BILLFISH_RETURN_IF_ERROR(on_device(device));
  const DeviceGuard guard(device);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  const std::int64_t words = bytes / 8;
  const auto on = static_cast<cudaStream_t>(stream);
  if (words > 0) write_bits<<<blocks_for(words), kThreads, 0, on>>>(static_cast<std::uint64_t*>(target), words, seed);
  if (bytes % 8 != 0) write_last_bits<<<1, 8, 0, on>>>(static_cast<unsigned char*>(target), words * 8, bytes, seed);
  return status_of(cudaGetLastError(), "filling with random bits");
}

Status fill_uniform(int device, void* target, ElementType type, std::int64_t count, float low, float high, std::uint64_t seed,
                    void* stream) {
  BILLFISH_RETURN_IF_ERROR(on_device(device));
  const DeviceGuard guard(device);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  if (count <= 0) return {};
  write_uniform<<<blocks_for(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(target, type, count, low, high - low, seed);
  return status_of(cudaGetLastError(), "filling with random values");
}

Status dequantize(const PackedMatrix& weights, ElementType type, void* target, void* stream) {
  BILLFISH_RETURN_IF_ERROR(on_device(weights.device.index));
  const DeviceGuard guard(weights.device.index);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  if (weights.n == 0 || weights.k == 0) return {};
  write_dense<<<blocks_for(weights.n * weights.k), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(weights, type, target);
  return status_of(cudaGetLastError(), "dequantising on the device");
}

Status gather(int device, const void* source, ElementType type, std::int64_t ld, const std::int32_t* rows, const std::int32_t* columns,
              std::int64_t count, float* target, void* stream) {
  BILLFISH_RETURN_IF_ERROR(on_device(device));
  const DeviceGuard guard(device);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  if (count <= 0) return {};
  gather_elements<<<blocks_for(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(source, type, ld, rows, columns, count, target);
  return status_of(cudaGetLastError(), "gathering elements");
}

}  // namespace billfish::measure::cuda
