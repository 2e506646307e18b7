// SPDX-License-Identifier: Apache-2.0
// One code, zero or scale of a checkpoint on the device, through the layout functions: what the general path of every repack kernel is
// made of. Called by codes.cu and tables.cu.
#pragma once

#include <cstdint>

#include "core/matrix.hpp"
#include "layout/awq_order.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/gptq.hpp"

namespace billfish::cuda::repack {

// A matrix for kernels: with what costs a division, which device code should not repeat.
struct Source : QuantizedMatrix {
  explicit Source(const QuantizedMatrix& matrix) : QuantizedMatrix(matrix), group_count(matrix.groups()) {}
  std::int64_t group_count;
};

__device__ inline int field_at(const void* words, layout::Place place, int bits) {
  return static_cast<int>(layout::field_of(static_cast<const std::uint32_t*>(words)[place.word], place.shift, bits));
}

template <int kBits>
__device__ __forceinline__ int code_at(const Source& source, std::int64_t k, std::int64_t n) {
  switch (source.format) {
    case Format::awq: return field_at(source.codes, layout::awq_code(k, n, source.n), kBits);
    case Format::compressed_tensors: return field_at(source.codes, layout::ct_code(kBits, k, n, source.k), kBits);
    case Format::raw: return static_cast<const std::uint8_t*>(source.codes)[k * source.n + n];
    default: return field_at(source.codes, layout::gptq_code(kBits, k, n, source.n), kBits);
  }
}

template <int kBits>
__device__ __forceinline__ int zero_at(const Source& source, std::int64_t group, std::int64_t n) {
  if (!has_zeros(source.type)) return implicit_zero(source.type);
  switch (source.format) {
    case Format::awq: return field_at(source.zeros, layout::awq_code(group, n, source.n), kBits);
    case Format::compressed_tensors: return field_at(source.zeros, layout::ct_zero(kBits, group, n, source.group_count), kBits);
    case Format::raw: return static_cast<const std::uint8_t*>(source.zeros)[group * source.n + n];
    case Format::gptq_v1: {  // stored minus one, subtracted from the whole word
      const layout::Place place = layout::gptq_zero(kBits, group, n, source.n);
      const std::uint32_t word = layout::gptq_zeros_from_v1(kBits, static_cast<const std::uint32_t*>(source.zeros)[place.word]);
      return static_cast<int>(layout::field_of(word, place.shift, kBits));
    }
    default: return field_at(source.zeros, layout::gptq_zero(kBits, group, n, source.n), kBits);
  }
}

__device__ inline std::int64_t scale_index(const Source& source, std::int64_t group, std::int64_t n) {
  return source.format == Format::compressed_tensors ? layout::ct_scale(group, n, source.group_count) : group * source.n + n;
}

}  // namespace billfish::cuda::repack
