// SPDX-License-Identifier: Apache-2.0
// Scales, zeros and bias: small beside the codes, so an item a thread, 16 bytes of scales or a word of zeros. Called by the kernel of the
// codes, whose first blocks do them where one launch does all (codes.cu), and by a kernel of their own (tables.cu).
#pragma once

#include <bit>

#include "core/half.hpp"
#include "cuda/cuda.hpp"
#include "cuda/repack/elements.cuh"

namespace billfish::cuda::repack {

struct Tables {
  Tables(const QuantizedMatrix& source, const PackedMatrix& target, std::uint32_t* findings)
      : scales(target.scales),
        zeros(target.zeros),
        bias(target.bias == source.bias ? nullptr : target.bias),
        findings(findings),
        scale_items(source.packed_scales() / 8),
        zero_items(source.zeros == nullptr || (zeros == nullptr && findings == nullptr)
                       ? 0
                       : source.groups() * layout::marlin_zero_row_words(bits_of(source.type), source.padded_n())),
        bias_items(bias == nullptr ? 0 : source.n * bytes_of(source.bias_type) / 2) {}
  std::int64_t items() const { return scale_items + zero_items + bias_items; }

  void* scales;
  std::uint32_t* zeros;     // null: the type has none; they are looked at only for findings
  void* bias;               // null: none, or it lies there already
  std::uint32_t* findings;  // null: data is not looked at
  std::int64_t scale_items, zero_items, bias_items;
};

struct TablePlace {
  std::int64_t group;
  std::uint32_t item;  // within its row
};
__device__ inline TablePlace table_place(std::int64_t item, std::int64_t row_items) {
  const auto width = static_cast<std::uint32_t>(row_items);
  if (item >> 32 != 0) return {item / width, static_cast<std::uint32_t>(item % width)};
  const auto narrow = static_cast<std::uint32_t>(item);  // a 64-bit division takes as long as all the rest of an item
  return {narrow / width, narrow % width};
}

__device__ inline float magnitude_of(std::uint32_t bits, ElementType type) {
  if (type == ElementType::f32) return std::bit_cast<float>(bits & 0x7fffffffu);
  const auto narrow = static_cast<std::uint16_t>(bits & 0x7fffu);
  return type == ElementType::f16 ? f16_to_f32(narrow) : bf16_to_f32(narrow);
}

// The judgement of pack::has_wide_scales on one scale.
template <int kBits>
__device__ void look_at_scale(const Source& source, std::uint32_t* findings, std::int64_t group, std::int64_t n, std::uint32_t bits) {
  constexpr int top = (1 << kBits) - 1;
  const float magnitude = magnitude_of(bits, source.scale_type);
  if (!(magnitude <= 3.4028235e38f)) return report(findings, kFoundBadScale);
  bool wide = magnitude != 0 && magnitude < 0x1p-14f;
  if (magnitude * top > 65504.0f) {
    const int zero = zero_at<kBits>(source, group, n);
    wide = magnitude * static_cast<float>(max(zero, top - zero)) > 65504.0f;
  }
  if (wide) report(findings, kFoundWideScales);
}

// Eight neighbouring positions ask for their columns; both orders are their own inverse. Padding is 0. Scales that are in Marlin order
// already may be packed in place: an item reads what it writes, as that of the zeros does.
template <int kBits, class Bits>
__device__ void scale_item(const Source& source, const Tables& tables, std::int64_t item) {
  const TablePlace place = table_place(item, source.padded_n() / 8);
  alignas(16) Bits bits[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const std::int64_t n = layout::marlin_scale(source.per_column(), std::int64_t{8} * place.item + i);
    bits[i] = n < source.n ? static_cast<const Bits*>(source.scales)[scale_index(source, place.group, n)] : Bits{0};
    if (tables.findings != nullptr && n < source.n) look_at_scale<kBits>(source, tables.findings, place.group, n, bits[i]);
  }
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof bits / 16); ++i) {
    reinterpret_cast<uint4*>(static_cast<Bits*>(tables.scales) + 8 * item)[i] = reinterpret_cast<const uint4*>(bits)[i];
  }
}

template <int kBits>
__device__ void zero_item(const Source& source, const Tables& tables, std::int64_t item) {
  const std::int64_t row_words = layout::marlin_zero_row_words(kBits, source.padded_n());
  const TablePlace place = table_place(item, row_words);
  std::uint32_t word = 0;
  bool bad = false;
#pragma unroll
  for (int shift = 0; shift < 32; shift += kBits) {
    // A word of the first row, so that its group takes no division.
    const std::int64_t n = layout::marlin_zero_column(kBits, place.item, shift);
    if (n >= source.n) continue;
    const int zero = stored_zero_at<kBits>(source, place.group, n);
    bad = bad || (has_zeros(source.type) ? zero >> kBits != 0 : zero != implicit_zero(source.type));
    word |= (static_cast<std::uint32_t>(zero) & layout::field_mask(kBits)) << shift;
  }
  if (tables.zeros != nullptr) tables.zeros[item] = word;
  if (bad && tables.findings != nullptr) report(tables.findings, kFoundBadZero);
}

template <int kBits>
__device__ void table_item(const Source& source, const Tables& tables, std::int64_t item) {
  if (item < tables.scale_items) {
    if (source.scale_type == ElementType::f32) return scale_item<kBits, std::uint32_t>(source, tables, item);
    return scale_item<kBits, std::uint16_t>(source, tables, item);
  }
  item -= tables.scale_items;
  if (item < tables.zero_items) return zero_item<kBits>(source, tables, item);
  item -= tables.zero_items;
  if (item < tables.bias_items) static_cast<std::uint16_t*>(tables.bias)[item] = static_cast<const std::uint16_t*>(source.bias)[item];
}

}  // namespace billfish::cuda::repack
