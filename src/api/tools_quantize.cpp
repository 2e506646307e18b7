// SPDX-License-Identifier: Apache-2.0
// billfish_tools_quantize: round to nearest, symmetric or with zeros; billfish_tools_to_f32 and billfish_tools_from_f32; what
// billfish_quantize_matrix tells whoever measures it.
#include <algorithm>
#include <cmath>
#include <string>

#include "api/arguments.hpp"
#include "billfish/billfish_tools.h"
#include "core/half.hpp"
#include "quantize/trace.hpp"

namespace billfish::api {
namespace {

struct Range {
  float low = 0, high = 0;  // always around 0, so that 0 has a code
  bool finite = true;
};

Range range_of(const float* weights, std::int64_t rows, std::int64_t stride) {
  Range range;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float weight = weights[row * stride];
    range.finite = range.finite && std::isfinite(weight);
    range.low = std::min(range.low, weight);
    range.high = std::max(range.high, weight);
  }
  return range;
}

// 2^bits - 1 steps cover the range: [low, high] with stored zeros, else [-largest, largest].
float step_of(const Range& range, WeightType type) {
  const float steps = static_cast<float>((1 << bits_of(type)) - 1);
  const double width =
      has_zeros(type) ? static_cast<double>(range.high) - range.low : 2.0 * std::max<double>(range.high, -static_cast<double>(range.low));
  return static_cast<float>(width / steps);
}

struct Quantizer {
  WeightType type;
  ElementType scale_type;
  std::int64_t k, n, group;

  Status column_of_group(const float* weights, std::int64_t g, std::int64_t column, std::uint8_t* codes, std::uint8_t* zeros,
                         void* scales) const {
    const std::int64_t begin = g * group, rows = std::min(group, k - begin);
    const float* first = weights + begin * n + column;
    const Range range = range_of(first, rows, n);
    if (!range.finite) {
      return bad_input("a weight of column " + std::to_string(column) + " in rows " + std::to_string(begin) + " to " +
                       std::to_string(begin + rows - 1) + " is not finite");
    }
    store_element(scales, scale_type, g * n + column, step_of(range, type));
    // What is stored is what dequantises: codes are chosen for the rounded scale.
    const float scale = load_element(scales, scale_type, g * n + column);
    if (!std::isfinite(scale)) {
      return bad_input("the scale of column " + std::to_string(column) + ", group " + std::to_string(g) + " is too large for " +
                       std::string(name_of(scale_type)));
    }
    const float largest_code = static_cast<float>((1 << bits_of(type)) - 1);
    const float zero = !has_zeros(type) ? static_cast<float>(implicit_zero(type))
                       : scale == 0.0f  ? 0.0f
                                        : std::clamp(std::nearbyint(-range.low / scale), 0.0f, largest_code);
    if (has_zeros(type)) zeros[g * n + column] = static_cast<std::uint8_t>(zero);
    for (std::int64_t row = 0; row < rows; ++row) {
      const float code = scale == 0.0f ? zero : std::nearbyint(first[row * n] / scale) + zero;
      codes[(begin + row) * n + column] = static_cast<std::uint8_t>(std::clamp(code, 0.0f, largest_code));
    }
    return {};
  }
};

Status quantize(const float* weights, std::int64_t k, std::int64_t n, std::int64_t group, const billfish_weight_type& type,
                const billfish_element_type& scale_type, std::uint8_t* codes, std::uint8_t* zeros, void* scales) {
  Quantizer quantizer = {WeightType::u4b8, ElementType::f16, k, n, group};
  BILLFISH_RETURN_IF_ERROR(read_enum("type", type, 4, "0 (u4b8), 1 (u4), 2 (u8b128), 3 (u8)", quantizer.type));
  BILLFISH_RETURN_IF_ERROR(read_enum("scale_type", scale_type, 3, "0 (f32), 1 (f16), 2 (bf16)", quantizer.scale_type));
  if (k < 0 || n < 0 || !checked_multiply(k, n).has_value() || !checked_multiply(k * n, 8).has_value()) {
    return invalid_argument("k is " + std::to_string(k) + " and n is " + std::to_string(n) +
                            "; both must be 0 or more, and their product countable in bytes");
  }
  if (group < -1 || group == 0) {
    return invalid_argument("group is " + std::to_string(group) + "; supported are a positive number of codes, or -1 for one group of all");
  }
  if (k == 0 || n == 0) return {};
  if (weights == nullptr) return null_argument("weights");
  if (codes == nullptr) return null_argument("codes");
  if (scales == nullptr) return null_argument("scales");
  if (has_zeros(quantizer.type) && zeros == nullptr) {
    return invalid_argument("zeros is NULL; the type " + std::string(name_of(quantizer.type)) + " has stored zeros");
  }
  quantizer.group = resolve_group(group, k);
  for (std::int64_t g = 0; g < ceil_div(k, quantizer.group); ++g) {
    for (std::int64_t column = 0; column < n; ++column) {
      BILLFISH_RETURN_IF_ERROR(quantizer.column_of_group(weights, g, column, codes, zeros, scales));
    }
  }
  return {};
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_tools_quantize(const float* weights, int64_t k, int64_t n, int64_t group, billfish_weight_type type,
                                        billfish_element_type scale_type, uint8_t* codes, uint8_t* zeros, void* scales) {
  return billfish::api::guarded([&] { return billfish::api::quantize(weights, k, n, group, type, scale_type, codes, zeros, scales); });
}

void billfish_tools_quantize_trace(void (*done)(void* user, const char* step), void* user) { billfish::quantize::trace = {done, user}; }

// These two cannot fail and so cannot say why: what they are given must be right, or they do nothing.
void billfish_tools_to_f32(const void* source, billfish_element_type type, float* target, int64_t count) {
  const int element = billfish::api::raw(type);
  if (source == nullptr || target == nullptr || element < 0 || element > BILLFISH_BF16) return;
  for (int64_t i = 0; i < count; ++i) target[i] = billfish::load_element(source, static_cast<billfish::ElementType>(element), i);
}

void billfish_tools_from_f32(const float* source, billfish_element_type type, void* target, int64_t count) {
  const int element = billfish::api::raw(type);
  if (source == nullptr || target == nullptr || element < 0 || element > BILLFISH_BF16) return;
  for (int64_t i = 0; i < count; ++i) billfish::store_element(target, static_cast<billfish::ElementType>(element), i, source[i]);
}

}  // extern "C"
