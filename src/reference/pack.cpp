// SPDX-License-Identifier: Apache-2.0
// Marlin bytes, element by element: every packed element asks which original element it is. What the fast packer must equal, byte for byte.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/half.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"
#include "reference/reference.hpp"

namespace billfish::reference {
namespace {

void put(std::uint32_t* words, layout::Place place, int bits, int value) {
  words[place.word] = (words[place.word] & ~(layout::field_mask(bits) << place.shift)) | (static_cast<std::uint32_t>(value) << place.shift);
}

// Scales beyond what an f16 weight can hold: docs/tolerance.md, "Wide scales".
bool is_wide(float scale, int zero, WeightType type) {
  const int largest = std::max(zero, (1 << bits_of(type)) - 1 - zero);
  const float magnitude = std::fabs(scale);
  return magnitude * static_cast<float>(largest) > 65504.0f || (magnitude != 0 && magnitude < 0x1p-14f);
}

}  // namespace

void pack(const QuantizedMatrix& source, PackedMatrix& target) {
  static_cast<MatrixShape&>(target) = source;
  const int bits = bits_of(source.type);
  const std::int64_t groups = source.groups();

  std::vector<std::int64_t> order(static_cast<std::size_t>(source.k));  // original row of every packed row
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto left, auto right) { return group_at(source, left) < group_at(source, right); });
  if (source.format == Format::marlin && source.perm != nullptr) order.assign(source.perm, source.perm + source.k);
  bool in_order = true;
  bool even = true;
  for (std::int64_t row = 0; row < source.k; ++row) {
    const std::int64_t original = order[static_cast<std::size_t>(row)];
    in_order = in_order && original == row;
    even = even && group_at(source, original) == source.group_of_row(row);
  }
  if (in_order && !(source.format == Format::marlin && source.perm != nullptr)) target.perm = nullptr;
  if (even) target.g_idx = nullptr;
  for (std::int64_t row = 0; row < source.k; ++row) {
    const std::int64_t original = order[static_cast<std::size_t>(row)];
    if (target.perm != nullptr) target.perm[row] = static_cast<std::int32_t>(original);
    if (target.g_idx != nullptr) target.g_idx[row] = static_cast<std::int32_t>(group_at(source, original));
  }

  if (!has_zeros(source.type)) target.zeros = nullptr;
  target.wide_scales = false;
  for (std::int64_t group = 0; group < groups; ++group) {
    for (std::int64_t n = 0; n < source.padded_n(); ++n) {
      const bool real = n < source.n;
      const float scale = real ? scale_of_group(source, group, n) : 0.0f;
      store_element(target.scales, source.scale_type, group * source.padded_n() + layout::marlin_scale(source.per_column(), n), scale);
      const int zero = real ? zero_of_group(source, group, n) : implicit_zero(source.type);
      if (target.zeros != nullptr) put(target.zeros, layout::marlin_zero(bits, group, n, source.padded_n()), bits, zero);
      target.wide_scales = target.wide_scales || is_wide(scale, zero, source.type);
    }
  }

  for (std::int64_t row = 0; row < source.padded_k(); ++row) {
    for (std::int64_t n = 0; n < source.padded_n(); ++n) {
      int code = zero_at(target, row, n);  // padding: the product with it is exactly 0
      if (row < source.k && n < source.n) code = code_at(source, order[static_cast<std::size_t>(row)], n);
      put(target.codes, layout::marlin_code(bits, row, n, source.padded_n()), bits, code);
    }
  }

  target.bias_type = source.bias_type;
  target.bias_permuted = false;
  if (source.bias == nullptr) {
    target.bias = nullptr;
  } else {
    std::memcpy(target.bias, source.bias, static_cast<std::size_t>(source.n * bytes_of(source.bias_type)));
  }
}

}  // namespace billfish::reference
