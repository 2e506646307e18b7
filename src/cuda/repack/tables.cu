// SPDX-License-Identifier: Apache-2.0
// Scales, zeros, bias and the activation order on the device: small beside the codes, so plain. Called by pack.cu.
#include "cuda/repack/elements.cuh"
#include "cuda/repack/repack.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_zeros.hpp"

namespace billfish::cuda::repack {
namespace {

constexpr int kThreads = 256;

unsigned blocks_for(std::int64_t items) { return static_cast<unsigned>(ceil_div(items, kThreads)); }
__device__ std::int64_t item_index() { return std::int64_t{blockIdx.x} * kThreads + threadIdx.x; }

// An element of the target row asks for its column; both orders are their own inverse. Padding is 0.
template <class Bits>
__global__ void repack_scales(Source source, Bits* target) {
  const std::int64_t index = item_index();
  const std::int64_t padded_n = source.padded_n();
  if (index >= source.group_count * padded_n) return;
  const std::int64_t group = index / padded_n;
  const std::int64_t n = layout::marlin_scale(source.per_column(), index % padded_n);
  target[index] = n < source.n ? static_cast<const Bits*>(source.scales)[scale_index(source, group, n)] : Bits{0};
}

// A thread a word.
template <int kBits>
__global__ void repack_zeros(Source source, std::uint32_t* target) {
  const std::int64_t index = item_index();
  if (index >= source.group_count * (source.padded_n() * kBits / 32)) return;
  std::uint32_t word = 0;
  for (int shift = 0; shift < 32; shift += kBits) {
    const layout::Element element = layout::marlin_zero_element(kBits, index, shift, source.padded_n());
    if (element.n < source.n) word |= static_cast<std::uint32_t>(zero_at<kBits>(source, element.k, element.n)) << shift;
  }
  target[index] = word;
}

// A warp a group: rows of smaller groups come before, rows of this one in their own order.
__global__ void order_rows(const std::int32_t* g_idx, int k, int groups, std::int32_t* perm) {
  const int group = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  if (group >= groups) return;
  const int lane = threadIdx.x % 32;
  int before = 0;
  for (int row = lane; row < k; row += 32) before += g_idx[row] < group;
  for (int offset = 16; offset > 0; offset /= 2) before += __shfl_xor_sync(~0u, before, offset);
  for (int base = 0; base < k; base += 32) {
    const int row = base + lane;
    const bool mine = row < k && g_idx[row] == group;
    const unsigned ballot = __ballot_sync(~0u, mine);
    const int place = before + __popc(ballot & ((1u << lane) - 1));
    if (mine && place < k) perm[place] = row;
    before += __popc(ballot);
  }
}

}  // namespace

void scales(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream) {
  const unsigned blocks = blocks_for(target.packed_scales());
  if (blocks == 0) return;
  if (source.scale_type == ElementType::f32) {
    repack_scales<<<blocks, kThreads, 0, stream>>>(Source(source), static_cast<std::uint32_t*>(target.scales));
  } else {
    repack_scales<<<blocks, kThreads, 0, stream>>>(Source(source), static_cast<std::uint16_t*>(target.scales));
  }
}

void zeros(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream) {
  const unsigned blocks = blocks_for(target.packed_zero_words());
  if (blocks == 0) return;
  const auto kernel = bits_of(source.type) == 4 ? repack_zeros<4> : repack_zeros<8>;
  kernel<<<blocks, kThreads, 0, stream>>>(Source(source), target.zeros);
}

void order(const std::int32_t* g_idx, std::int64_t k, std::int64_t groups, std::int32_t* perm, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>(ceil_div(groups, kThreads / 32));
  if (blocks > 0) order_rows<<<blocks, kThreads, 0, stream>>>(g_idx, static_cast<int>(k), static_cast<int>(groups), perm);
}

void bias(const QuantizedMatrix& source, const PackedMatrix& target, cudaStream_t stream) {
  if (source.bias == target.bias) return;
  (void)cudaMemcpyAsync(target.bias, source.bias, static_cast<std::size_t>(source.n * bytes_of(source.bias_type)), cudaMemcpyDeviceToDevice,
                        stream);
}

}  // namespace billfish::cuda::repack
