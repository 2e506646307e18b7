// SPDX-License-Identifier: Apache-2.0
// Is the shape one that can be packed, and how many bytes will it take? Nothing is read but g_idx.
#include <string>

#include "layout/marlin_weights.hpp"
#include "pack/order.hpp"
#include "pack/pack.hpp"
#include "pack/scales.hpp"

namespace billfish::pack {
namespace {

std::string number(std::int64_t value) { return std::to_string(value); }

}  // namespace

Status check_shape(const MatrixShape& shape, Format format) {
  constexpr std::int64_t kLargest = std::int64_t{1} << 47;  // of one side; far beyond any memory, and safe to round up
  if (shape.n < 0 || shape.n > kLargest) return invalid_argument("n is " + number(shape.n) + "; supported are 0 to 2^47");
  if (shape.k < 0 || shape.k > kLargest) return invalid_argument("k is " + number(shape.k) + "; supported are 0 to 2^47");
  if (shape.k > 0 && (shape.group < 1 || shape.group > shape.k)) {
    return invalid_argument("group is " + number(shape.group) + "; supported are 1 to k = " + number(shape.k));
  }
  // Four bytes a code is more than any form of it takes, scales of every code included.
  const auto codes = checked_multiply(shape.padded_n(), shape.padded_k());
  if (!codes.has_value() || !checked_multiply(*codes, 8).has_value()) {
    return invalid_argument("n = " + number(shape.n) + " times k = " + number(shape.k) + " is more than a 64-bit size can count");
  }
  if (format == Format::awq && bits_of(shape.type) != 4) {
    return unsupported("AWQ holds 4-bit codes only; the type is " + std::string(name_of(shape.type)));
  }
  if (format == Format::awq && shape.n % 8 != 0) {
    return unsupported("AWQ holds 8 columns in a word; n is " + number(shape.n) + ", not a multiple of 8");
  }
  return {};
}

Result<PackedSizes> packed_sizes(const QuantizedMatrix& matrix) {
  BILLFISH_RETURN_IF_ERROR(check_shape(matrix, matrix.format));
  if (matrix.format == Format::awq && matrix.g_idx != nullptr) return unsupported("AWQ has no activation order; g_idx must be null");
  const Result<RowOrder> order = order_of(matrix);
  if (!order.ok()) return order.status();
  if ((order->permuted || order->uneven) && matrix.k > INT32_MAX) {
    return unsupported("k is " + number(matrix.k) + "; with an activation order at most 2^31 - 1 rows are supported");
  }
  PackedSizes sizes;
  sizes.codes = matrix.packed_code_words() * 4;
  sizes.scales = matrix.packed_scales() * bytes_of(matrix.scale_type);
  sizes.zeros = matrix.packed_zero_words() * 4;
  sizes.perm = order->permuted ? matrix.k * 4 : 0;
  sizes.g_idx = order->uneven ? matrix.k * 4 : 0;
  sizes.bias = matrix.bias != nullptr ? matrix.n * bytes_of(matrix.bias_type) : 0;
  return sizes;
}

PackedMatrix view_marlin(const QuantizedMatrix& matrix) {
  PackedMatrix view;
  static_cast<MatrixShape&>(view) = matrix;
  view.codes = static_cast<std::uint32_t*>(const_cast<void*>(matrix.codes));
  view.scales = const_cast<void*>(matrix.scales);
  view.zeros = has_zeros(matrix.type) ? static_cast<std::uint32_t*>(const_cast<void*>(matrix.zeros)) : nullptr;
  view.perm = const_cast<std::int32_t*>(matrix.perm);
  view.g_idx = const_cast<std::int32_t*>(matrix.g_idx);
  view.bias = const_cast<void*>(matrix.bias);
  view.bias_type = matrix.bias_type;
  view.device = matrix.device;
  // Scales on a GPU cannot be looked at without waiting for it; whoever put them there knows.
  if (matrix.device.kind == DeviceKind::cpu && view.scales != nullptr) view.wide_scales = has_wide_scales(view, Parallel());
  return view;
}

}  // namespace billfish::pack
