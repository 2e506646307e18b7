// SPDX-License-Identifier: Apache-2.0
// The tables in a launch of their own, and the activation order: small beside the codes, so plain. Called by pack.cu.
#include "cuda/repack/tables.cuh"

#include "cuda/repack/repack.hpp"

namespace billfish::cuda::repack {
namespace {

constexpr int kThreads = 256;

template <int kBits>
__global__ void __launch_bounds__(kThreads) repack_tables(const __grid_constant__ Source source, const __grid_constant__ Tables tables) {
  table_item<kBits>(source, tables, std::int64_t{blockIdx.x} * kThreads + threadIdx.x);
}

__device__ void fill_with_nan(const Source& source, void* scales, std::int64_t group, int lane) {
  for (std::int64_t i = group * source.padded_n() + lane; i < (group + 1) * source.padded_n(); i += 32) {
    if (source.scale_type == ElementType::f32) {
      static_cast<std::uint32_t*>(scales)[i] = 0x7fc00000u;
    } else {
      static_cast<std::uint16_t*>(scales)[i] = 0x7fff;  // a NaN in f16 and in bf16
    }
  }
}

// A warp a group: rows of smaller groups come before, rows of this one in their own order. Rows that name no group count to the nearest,
// so that perm is a permutation whatever g_idx holds.
__global__ void __launch_bounds__(kThreads)
    order_rows(const __grid_constant__ Source source, std::int32_t* perm, void* scales, std::uint32_t* findings) {
  const int group = static_cast<int>(blockIdx.x * (kThreads / 32) + threadIdx.x / 32);
  const int k = static_cast<int>(source.k), groups = static_cast<int>(source.group_count);
  if (group >= groups) return;
  const int lane = threadIdx.x % 32;
  const auto group_of = [&](int row) { return min(max(source.g_idx[row], 0), groups - 1); };
  int before = 0;
  for (int row = lane; row < k; row += 32) before += group_of(row) < group;
  for (int offset = 16; offset > 0; offset /= 2) before += __shfl_xor_sync(~0u, before, offset);
  const int first = before;
  bool named = true;
  for (int base = 0; base < k; base += 32) {
    const int row = base + lane;
    const bool mine = row < k && group_of(row) == group;
    const unsigned ballot = __ballot_sync(~0u, mine);
    if (mine) {
      perm[before + __popc(ballot & ((1u << lane) - 1))] = row;
      named = named && source.g_idx[row] == group;
    }
    before += __popc(ballot);
  }
  // Rows of an even group lie where the kernels that multiply look for them.
  const bool even = first == group * source.group && before == min(source.k, (group + 1) * source.group);
  if (__all_sync(~0u, even && named)) return;
  fill_with_nan(source, scales, group, lane);
  if (lane == 0 && findings != nullptr) report(findings, kFoundBadOrder);
}

}  // namespace

void tables(const QuantizedMatrix& source, const PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream) {
  const Tables tables(source, target, findings);
  const unsigned blocks = static_cast<unsigned>(ceil_div(tables.items(), kThreads));
  if (blocks == 0) return;
  const auto kernel = bits_of(source.type) == 4 ? repack_tables<4> : repack_tables<8>;
  kernel<<<blocks, kThreads, 0, stream>>>(Source(source), tables);
}

void order(const QuantizedMatrix& source, const PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>(ceil_div(source.groups(), kThreads / 32));
  if (blocks > 0) order_rows<<<blocks, kThreads, 0, stream>>>(Source(source), target.perm, target.scales, findings);
}

}  // namespace billfish::cuda::repack
