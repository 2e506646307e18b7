// SPDX-License-Identifier: Apache-2.0
// Shapes of tensors by format, and the call that fills them.
#include "formats/format_parts.hpp"

#include <algorithm>

#include "formats/load.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

constexpr Role kMade[4] = {Role::codes, Role::scales, Role::zeros, Role::g_idx};

bool is_gptq(Format format) { return format == Format::gptq_v1 || format == Format::gptq_v2; }

std::int64_t bytes_of_part(const std::vector<FormatPart>& parts, Role role) {
  for (const FormatPart& part : parts) {
    if (part.role == role) return part.bytes;
  }
  return 0;
}

}  // namespace

std::vector<FormatPart> format_parts(Format format, const MatrixShape& shape, ElementType bias_type) {
  const std::int64_t fields = codes_per_word(shape.type), bits = bits_of(shape.type);
  const std::int64_t n = shape.n, k = shape.k, groups = shape.groups();
  const std::int64_t k_words = ceil_div(k, fields), n_words = ceil_div(n, fields);
  const std::string scale_dtype(dtype_name(shape.scale_type));
  std::vector<FormatPart> out;
  const auto add = [&](Role role, std::string_view suffix, std::string_view dtype, std::vector<std::int64_t> extents, std::int64_t item) {
    std::int64_t bytes = item;
    for (const std::int64_t extent : extents) bytes *= extent;
    out.push_back({role, std::string(suffix), std::string(dtype), std::move(extents), bytes});
  };
  if (is_gptq(format)) {
    add(Role::codes, "qweight", "I32", {k_words, n}, 4);
    add(Role::zeros, "qzeros", "I32", {groups, n_words}, 4);
    add(Role::scales, "scales", scale_dtype, {groups, n}, bytes_of(shape.scale_type));
    add(Role::g_idx, "g_idx", "I32", {k}, 4);
  } else if (format == Format::awq) {
    add(Role::codes, "qweight", "I32", {k, n / 8}, 4);
    add(Role::zeros, "qzeros", "I32", {groups, n / 8}, 4);
    add(Role::scales, "scales", scale_dtype, {groups, n}, bytes_of(shape.scale_type));
  } else if (format == Format::compressed_tensors) {
    add(Role::codes, "weight_packed", "I32", {n, k_words}, 4);
    add(Role::zeros, "weight_zero_point", "I32", {n_words, groups}, 4);
    add(Role::scales, "weight_scale", scale_dtype, {n, groups}, bytes_of(shape.scale_type));
    add(Role::g_idx, "weight_g_idx", "I32", {k}, 4);
    add(Role::weight_shape, "weight_shape", "I64", {2}, 8);
  } else {
    add(Role::codes, "B", "I32", {shape.padded_k() / 16, shape.padded_n() * bits / 2}, 4);
    add(Role::scales, "s", scale_dtype, {groups, shape.padded_n()}, bytes_of(shape.scale_type));
  }
  add(Role::bias, "bias", dtype_name(bias_type), {n}, bytes_of(bias_type));
  return out;
}

Role role_of(Format format, std::string_view suffix) {
  if (format == Format::marlin && suffix == "qweight") return Role::codes;
  if (format == Format::marlin && suffix == "scales") return Role::scales;
  for (const FormatPart& part : format_parts(format, MatrixShape{WeightType::u4b8, ElementType::f16, 64, 64, 64}, ElementType::f16)) {
    if (part.suffix == suffix) return part.role;
  }
  return Role::other;
}

std::string why_not(Format format, const MatrixShape& shape, bool act_order) {
  const int bits = bits_of(shape.type);
  if (format == Format::awq) {
    if (act_order) return "AWQ cannot hold an activation order: gptq and compressed-tensors can";
    if (bits != 4) return text("AWQ holds 4-bit codes, not ", bits, "-bit ones: gptq and compressed-tensors can");
    if (shape.n % 8 != 0) return text("AWQ needs n to be a multiple of 8, not ", shape.n);
  }
  if (format == Format::marlin) {
    if (act_order || has_zeros(shape.type)) return "Marlin's own files hold neither an activation order nor zero points";
    if (shape.n % 64 != 0 || shape.k % 16 != 0)
      return text("Marlin's own files need whole tiles (n % 64, k % 16), not n = ", shape.n, ", k = ", shape.k);
  }
  return "";
}

std::vector<FormatPart> new_parts(Format format, const MatrixShape& shape, bool act_order, bool bias, ElementType bias_type) {
  std::vector<FormatPart> out;
  for (FormatPart& part : format_parts(format, shape, bias_type)) {
    const bool compressed = format == Format::compressed_tensors;
    if (part.role == Role::bias && !bias) continue;
    if (part.role == Role::zeros && compressed && !has_zeros(shape.type)) continue;
    if (part.role == Role::g_idx && compressed && !act_order) continue;
    out.push_back(std::move(part));
  }
  return out;
}

PackedMatrix packed_view(const QuantizedMatrix& marlin) {
  PackedMatrix out;
  static_cast<MatrixShape&>(out) = marlin;
  out.codes = static_cast<std::uint32_t*>(const_cast<void*>(marlin.codes));
  out.scales = const_cast<void*>(marlin.scales);
  out.zeros = static_cast<std::uint32_t*>(const_cast<void*>(marlin.zeros));
  out.perm = const_cast<std::int32_t*>(marlin.perm);
  out.g_idx = const_cast<std::int32_t*>(marlin.g_idx);
  out.bias = const_cast<void*>(marlin.bias);
  out.bias_type = marlin.bias_type;
  return out;
}

Status Unpacked::make(const PackFunctions& functions, const PackedMatrix& source, Format format, const Parallel& parallel) {
  const std::vector<FormatPart> parts = format_parts(format, source, source.bias_type);
  std::int64_t total = 0;
  for (const Role role : kMade) total += with_gap(bytes_of_part(parts, role));
  BILLFISH_RETURN_IF_ERROR(buffer_.reserve(total));
  std::byte* next = buffer_.data();
  for (int i = 0; i < 4; ++i) {
    const std::int64_t bytes = bytes_of_part(parts, kMade[i]);
    parts_[i] = bytes > 0 ? next : nullptr;
    next += with_gap(bytes);
  }
  QuantizedMatrix target;
  static_cast<MatrixShape&>(target) = source;
  target.format = format;
  target.codes = part(Role::codes);
  target.scales = part(Role::scales);
  target.g_idx = reinterpret_cast<std::int32_t*>(part(Role::g_idx));
  if (has_zeros(source.type)) {
    target.zeros = part(Role::zeros);
  } else if (std::byte* zeros = part(Role::zeros)) {
    std::fill_n(reinterpret_cast<std::uint32_t*>(zeros), bytes_of_part(parts, Role::zeros) / 4,
                symmetric_word(format, bits_of(source.type)));
  }
  return functions.unpack(source, target, parallel);
}

Status Unpacked::write_new(const std::string& layer, const std::vector<FormatPart>& parts, const MatrixShape& shape, const void* bias,
                           TensorWriter& writer) const {
  const std::int64_t numbers[2] = {shape.n, shape.k};
  for (const FormatPart& made : parts) {
    const void* data = made.role == Role::bias           ? bias
                       : made.role == Role::weight_shape ? numbers
                                                         : static_cast<const void*>(part(made.role));
    BILLFISH_RETURN_IF_ERROR(writer.write(tensor_name(layer, made.suffix), data, made.bytes));
  }
  return {};
}

std::byte* Unpacked::part(Role role) const {
  const Role* found = std::find(std::begin(kMade), std::end(kMade), role);
  return found == std::end(kMade) ? nullptr : parts_[found - kMade];
}

}  // namespace billfish::formats
