// SPDX-License-Identifier: Apache-2.0
// What the repack kernels are told, and one code, zero or scale of a checkpoint on the device, through the layout functions: what every
// general path is made of. Called by codes.cu, tables.cuh and tables.cu.
#pragma once

#include <cstdint>

#include "core/matrix.hpp"
#include "layout/awq_order.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/gptq.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"

namespace billfish::cuda::repack {

// A matrix for kernels: with what costs a division, which device code should not repeat.
struct Source : QuantizedMatrix {
  explicit Source(const QuantizedMatrix& matrix) : QuantizedMatrix(matrix), group_count(matrix.groups()) {}
  std::int64_t group_count;
};

// Sets bits of the caller's word of findings. A bit that is there already costs a read.
__device__ inline void report(std::uint32_t* findings, std::uint32_t bits) {
  if ((*static_cast<volatile std::uint32_t*>(findings) & bits) != bits) atomicOr(findings, bits);
}

__device__ inline int field_at(const void* words, layout::Place place, int bits) {
  return static_cast<int>(layout::field_of(static_cast<const std::uint32_t*>(words)[place.word], place.shift, bits));
}

template <int kBits>
__device__ __forceinline__ int code_at(const Source& source, std::int64_t k, std::int64_t n) {
  switch (source.format) {
    case Format::awq: return field_at(source.codes, layout::awq_code(k, n, source.n), kBits);
    case Format::compressed_tensors: return field_at(source.codes, layout::ct_code(kBits, k, n, source.k), kBits);
    case Format::raw: return static_cast<const std::uint8_t*>(source.codes)[k * source.n + n];
    case Format::marlin: return field_at(source.codes, layout::marlin_code(kBits, k, n, source.padded_n()), kBits);
    default: return field_at(source.codes, layout::gptq_code(kBits, k, n, source.n), kBits);
  }
}

// source.zeros is not null. A raw one may be larger than kBits hold.
template <int kBits>
__device__ __forceinline__ int stored_zero_at(const Source& source, std::int64_t group, std::int64_t n) {
  switch (source.format) {
    case Format::awq: return field_at(source.zeros, layout::awq_code(group, n, source.n), kBits);
    case Format::compressed_tensors: return field_at(source.zeros, layout::ct_zero(kBits, group, n, source.group_count), kBits);
    case Format::raw: return static_cast<const std::uint8_t*>(source.zeros)[group * source.n + n];
    case Format::marlin: return field_at(source.zeros, layout::marlin_zero(kBits, group, n, source.padded_n()), kBits);
    case Format::gptq_v1: {  // stored minus one, subtracted from the whole word
      const layout::Place place = layout::gptq_zero(kBits, group, n, source.n);
      const std::uint32_t word = layout::gptq_zeros_from_v1(kBits, static_cast<const std::uint32_t*>(source.zeros)[place.word]);
      return static_cast<int>(layout::field_of(word, place.shift, kBits));
    }
    default: return field_at(source.zeros, layout::gptq_zero(kBits, group, n, source.n), kBits);
  }
}

template <int kBits>
__device__ __forceinline__ int zero_at(const Source& source, std::int64_t group, std::int64_t n) {
  return has_zeros(source.type) ? stored_zero_at<kBits>(source, group, n) : implicit_zero(source.type);
}

__device__ inline std::int64_t scale_index(const Source& source, std::int64_t group, std::int64_t n) {
  if (source.format == Format::compressed_tensors) return layout::ct_scale(group, n, source.group_count);
  if (source.format == Format::marlin) return group * source.padded_n() + layout::marlin_scale(source.per_column(), n);
  return group * source.n + n;
}

}  // namespace billfish::cuda::repack
