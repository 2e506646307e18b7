// SPDX-License-Identifier: Apache-2.0
// The two forms of a quantised matrix: as a checkpoint stores it, and packed into Marlin bytes. Both borrow their memory.
#pragma once

#include <cstdint>

#include "core/integers.hpp"
#include "core/types.hpp"

namespace billfish {

// The order of codes and zeros in memory, and how zeros are offset. docs/formats.md, section 1. Values match billfish_format.
enum class Format : std::uint8_t { gptq_v1, gptq_v2, awq, compressed_tensors, raw, marlin };

// What both forms share: `group` is resolved (1 <= group <= k; group == k means one group, the per-column scale order).
struct MatrixShape {
  WeightType type = WeightType::u4b8;
  ElementType scale_type = ElementType::f16;
  std::int64_t n = 0, k = 0, group = 0;

  constexpr std::int64_t groups() const { return k == 0 ? 0 : ceil_div(k, group); }
  constexpr bool per_column() const { return group >= k; }
  // The group of packed row k' where there is no g_idx; padding rows count to the last group.
  constexpr std::int64_t group_of_row(std::int64_t row) const { return row / group < groups() ? row / group : groups() - 1; }
  constexpr std::int64_t padded_n() const { return round_up(n, 64); }
  constexpr std::int64_t padded_k() const { return round_up(k, 16); }
  constexpr std::int64_t packed_code_words() const { return padded_k() / 16 * (padded_n() * bits_of(type) / 2); }
  constexpr std::int64_t packed_zero_words() const { return has_zeros(type) ? groups() * (padded_n() * bits_of(type) / 32) : 0; }
  constexpr std::int64_t packed_scales() const { return groups() * padded_n(); }
  bool operator==(const MatrixShape&) const = default;
};

// -1, 0 or anything >= k: one group.
constexpr std::int64_t resolve_group(std::int64_t group, std::int64_t k) { return group <= 0 || group >= k ? k : group; }

struct QuantizedMatrix : MatrixShape {  // checkpoint order
  Format format = Format::gptq_v1;
  const void* codes = nullptr;
  const void* zeros = nullptr;
  const void* scales = nullptr;
  const std::int32_t* g_idx = nullptr;  // [k]
  const std::int32_t* perm = nullptr;   // [k], format marlin only
  const void* bias = nullptr;           // [n], plain order
  ElementType bias_type = ElementType::f16;
  Device device;
};

struct PackedMatrix : MatrixShape {  // Marlin bytes
  std::uint32_t* codes = nullptr;
  void* scales = nullptr;
  std::uint32_t* zeros = nullptr;  // null unless has_zeros(type)
  std::int32_t* perm = nullptr;    // [k]: packed row k' is original row perm[k']
  std::int32_t* g_idx = nullptr;   // [k] sorted; null where row k' belongs to group k' / group
  void* bias = nullptr;            // [n]
  ElementType bias_type = ElementType::f16;
  bool bias_permuted = false;  // bias in the per-column scale order
  bool wide_scales = false;    // some scale * code leaves the 16-bit range
  Device device;
};

}  // namespace billfish
