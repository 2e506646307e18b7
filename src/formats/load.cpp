// SPDX-License-Identifier: Apache-2.0
// Views of layers, with the checks that need the data itself.
#include "formats/load.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "formats/text.hpp"

namespace billfish::formats {
namespace {

constexpr int kAwqColumn[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // of the nibbles of an AWQ word

std::uint32_t read_u32(const std::byte* data, std::int64_t index) {
  std::uint32_t word = 0;
  std::memcpy(&word, data + index * 4, 4);
  return word;
}

// The bits of a word of zeros whose first `real` columns exist.
std::uint32_t column_mask(Format format, int bits, std::int64_t real) {
  std::uint32_t mask = 0;
  for (int field = 0; field < 32 / bits; ++field) {
    const int column = format == Format::awq ? kAwqColumn[field] : field;
    if (column < real) mask |= ((1u << bits) - 1) << (field * bits);
  }
  return mask;
}

WeightType with_zeros(WeightType type, bool symmetric) {
  if (bits_of(type) == 4) return symmetric ? WeightType::u4b8 : WeightType::u4;
  return symmetric ? WeightType::u8b128 : WeightType::u8;
}

Result<const std::byte*> aligned(const Model& model, const TensorPlace& place, std::int64_t alignment, Copies& copies) {
  const std::byte* data = model.data(place);
  if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(alignment) == 0) return data;
  void* copy = copies.take(place.tensor->bytes);
  if (!copy) return Status(Code::out_of_memory, text(model.label(place), ": no memory for ", place.tensor->bytes, " bytes"));
  std::memcpy(copy, data, static_cast<std::size_t>(place.tensor->bytes));
  return static_cast<const std::byte*>(copy);
}

Status check_finite(const Model& model, const TensorPlace& place, ElementType type) {
  const std::byte* data = model.data(place);
  const std::int64_t count = place.tensor->bytes / bytes_of(type);
  const std::uint32_t exponent = type == ElementType::f16 ? 0x7c00u : type == ElementType::bf16 ? 0x7f80u : 0x7f800000u;
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t value = 0;
    std::memcpy(&value, data + i * bytes_of(type), static_cast<std::size_t>(bytes_of(type)));
    if ((value & exponent) != exponent) continue;
    const std::int64_t columns = place.tensor->shape.back();
    const std::uint32_t mantissa = value & ((exponent & (~exponent + 1)) - 1);
    return bad_input(text(model.label(place), ": the scale at [", i / columns, ",", i % columns, "] is ", mantissa ? "NaN" : "infinite"));
  }
  return {};
}

Status check_permutation(const Model& model, const TensorPlace& place) {
  const std::byte* data = model.data(place);
  const std::int64_t k = place.tensor->shape[0];
  std::vector<bool> seen(static_cast<std::size_t>(k), false);
  for (std::int64_t i = 0; i < k; ++i) {
    const std::int32_t row = read_i32(data, i);
    if (row < 0 || row >= k) return bad_input(text(model.label(place), ": element ", i, " is ", row, ", but k is ", k));
    if (seen[static_cast<std::size_t>(row)]) return bad_input(text(model.label(place), ": row ", row, " occurs twice"));
    seen[static_cast<std::size_t>(row)] = true;
  }
  return {};
}

Status check_sorted(const Model& model, const TensorPlace& place) {
  const std::byte* data = model.data(place);
  for (std::int64_t i = 1; i < place.tensor->shape[0]; ++i) {
    if (read_i32(data, i) < read_i32(data, i - 1)) return bad_input(text(model.label(place), ": not sorted at element ", i));
  }
  return {};
}

// Decides between a symmetric type and stored zeros, and between GPTQ v1 and v2 where the values tell.
Status take_zeros(const Model& model, const Layer& layer, Copies& copies, QuantizedMatrix& matrix) {
  const Part* zeros = layer.part(Role::zeros);
  if (!zeros) return {};
  Result<const std::byte*> data = aligned(model, zeros->place, 4, copies);
  if (!data.ok()) return data.status();
  if (matrix.format == Format::marlin) {  // packed by us: zeros are there because they are needed
    matrix.zeros = *data;
    return {};
  }
  const int bits = bits_of(matrix.type);
  const auto symmetric_as = [&](Format format) { return zeros_are_symmetric(format, bits, *data, matrix.groups(), matrix.n); };
  if (layer.version_from_zeros && matrix.format == Format::gptq_v1 && !symmetric_as(Format::gptq_v1) && symmetric_as(Format::gptq_v2)) {
    matrix.format = Format::gptq_v2;
  }
  const bool symmetric = symmetric_as(matrix.format);
  matrix.type = with_zeros(matrix.type, symmetric);
  matrix.zeros = symmetric ? nullptr : *data;
  return {};
}

}  // namespace

void Copies::Free::operator()(void* memory) const { std::free(memory); }

void* Copies::take(std::int64_t bytes) {
  constexpr std::size_t kAlignment = 64;
  const std::size_t rounded = (static_cast<std::size_t>(bytes) / kAlignment + 1) * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory) blocks_.emplace_back(memory);
  return memory;
}

std::uint32_t symmetric_word(Format format, int bits) {
  const std::uint32_t zero = bits == 4 ? 0x88888888u : 0x80808080u;
  return format == Format::gptq_v1 ? zero - (bits == 4 ? 0x11111111u : 0x01010101u) : zero;
}

bool zeros_are_symmetric(Format format, int bits, const std::byte* zeros, std::int64_t groups, std::int64_t n) {
  const std::int64_t fields = 32 / bits;
  const std::int64_t columns = ceil_div(n, fields);
  // GPTQ v1 words are one less as a whole, so the fields are right only after the constant is added back.
  const std::uint32_t constant = format == Format::gptq_v1 ? (bits == 4 ? 0x11111111u : 0x01010101u) : 0u;
  const std::uint32_t expected = symmetric_word(Format::gptq_v2, bits);
  const bool columns_first = format == Format::compressed_tensors;
  const std::uint32_t last_mask = column_mask(format, bits, n - (columns - 1) * fields);
  for (std::int64_t i = 0; i < groups * columns; ++i) {
    const std::int64_t column = columns_first ? i / groups : i % columns;
    const std::uint32_t mask = column == columns - 1 ? last_mask : 0xffffffffu;
    if (((read_u32(zeros, i) + constant) & mask) != (expected & mask)) return false;
  }
  return true;
}

Result<QuantizedMatrix> load_layer(const Model& model, const Layer& layer, Copies& copies, std::int64_t codes_alignment) {
  if (!layer.info.supported) return unsupported(text("layer ", quote(layer.info.name), ": ", layer.info.reason));
  QuantizedMatrix matrix;
  static_cast<MatrixShape&>(matrix) = layer.shape;
  matrix.format = layer.info.format;

  const Part& codes = *layer.part(Role::codes);
  Result<const std::byte*> data =
      aligned(model, codes.place, matrix.format == Format::marlin ? codes_alignment : std::min<std::int64_t>(codes_alignment, 4), copies);
  if (!data.ok()) return data.status();
  matrix.codes = *data;
  BILLFISH_RETURN_IF_ERROR(take_zeros(model, layer, copies, matrix));

  const Part& scales = *layer.part(Role::scales);
  BILLFISH_RETURN_IF_ERROR(check_finite(model, scales.place, matrix.scale_type));
  data = aligned(model, scales.place, bytes_of(matrix.scale_type), copies);
  if (!data.ok()) return data.status();
  matrix.scales = *data;

  const Part* g_idx = layer.part(Role::g_idx);
  if (g_idx && layer.info.act_order) {
    if (layer.packed) BILLFISH_RETURN_IF_ERROR(check_sorted(model, g_idx->place));
    data = aligned(model, g_idx->place, 4, copies);
    if (!data.ok()) return data.status();
    matrix.g_idx = reinterpret_cast<const std::int32_t*>(*data);
  }
  if (const Part* perm = layer.part(Role::perm)) {
    BILLFISH_RETURN_IF_ERROR(check_permutation(model, perm->place));
    data = aligned(model, perm->place, 4, copies);
    if (!data.ok()) return data.status();
    matrix.perm = reinterpret_cast<const std::int32_t*>(*data);
  }
  if (const Part* bias = layer.part(Role::bias)) {
    const std::string& dtype = bias->place.tensor->dtype;
    matrix.bias_type = dtype == "F32" ? ElementType::f32 : dtype == "BF16" ? ElementType::bf16 : ElementType::f16;
    data = aligned(model, bias->place, bytes_of(matrix.bias_type), copies);
    if (!data.ok()) return data.status();
    matrix.bias = *data;
  }
  return matrix;
}

}  // namespace billfish::formats
