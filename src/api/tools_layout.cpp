// SPDX-License-Identifier: Apache-2.0
// billfish_tools_place: where an element of a layout lies, by the functions of layout/ that packer and kernels use.
#include <string>

#include "api/arguments.hpp"
#include "billfish/billfish_tools.h"
#include "layout/awq_order.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/gptq.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"

namespace billfish::api {
namespace {

// Codes and zeros that are bytes, one each: four to a word.
layout::Place byte_place(std::int64_t index) { return {index / 4, static_cast<int>(index % 4) * 8}; }

layout::Place code_place(const MatrixShape& shape, Format format, std::int64_t k, std::int64_t n) {
  const int bits = bits_of(shape.type);
  switch (format) {
    case Format::gptq_v1:
    case Format::gptq_v2: return layout::gptq_code(bits, k, n, shape.n);
    case Format::awq: return layout::awq_code(k, n, shape.n);
    case Format::compressed_tensors: return layout::ct_code(bits, k, n, shape.k);
    case Format::raw: return byte_place(k * shape.n + n);
    case Format::marlin: break;
  }
  return layout::marlin_code(bits, k, n, shape.padded_n());
}

layout::Place zero_place(const MatrixShape& shape, Format format, std::int64_t group, std::int64_t n) {
  const int bits = bits_of(shape.type);
  switch (format) {
    case Format::gptq_v1:
    case Format::gptq_v2: return layout::gptq_zero(bits, group, n, shape.n);
    case Format::awq: return layout::awq_code(group, n, shape.n);
    case Format::compressed_tensors: return layout::ct_zero(bits, group, n, shape.groups());
    case Format::raw: return byte_place(group * shape.n + n);
    case Format::marlin: break;
  }
  return layout::marlin_zero(bits, group, n, shape.padded_n());
}

std::int64_t scale_place(const MatrixShape& shape, Format format, std::int64_t group, std::int64_t n) {
  if (format == Format::compressed_tensors) return layout::ct_scale(group, n, shape.groups());
  if (format == Format::marlin) return group * shape.padded_n() + layout::marlin_scale(shape.per_column(), n);
  return group * shape.n + n;
}

Status place(const billfish_matrix* given, const billfish_part& part, std::int64_t row, std::int64_t column, std::int64_t* index,
             int* bit) {
  QuantizedMatrix shape;
  BILLFISH_RETURN_IF_ERROR(read_matrix(given, "shape", Pointers::ignored, shape));
  int which = 0;
  BILLFISH_RETURN_IF_ERROR(read_enum("part", part, 3, "0 (codes), 1 (zeros), 2 (scales)", which));
  if (index == nullptr) return null_argument("index");
  if (bit == nullptr) return null_argument("bit");
  const std::int64_t rows = which == BILLFISH_PART_CODES ? shape.k : shape.groups();
  if (row < 0 || row >= rows || column < 0 || column >= shape.n) {
    return invalid_argument("row is " + std::to_string(row) + " and column is " + std::to_string(column) + "; this part has " +
                            std::to_string(rows) + " rows and " + std::to_string(shape.n) + " columns");
  }
  if (shape.format == Format::awq && (bits_of(shape.type) != 4 || shape.n % 8 != 0)) {
    return unsupported("shape->format is AWQ, which holds 4-bit codes of a multiple of 8 columns");
  }
  layout::Place found;
  if (which == BILLFISH_PART_SCALES) {
    found.word = scale_place(shape, shape.format, row, column);
  } else {
    found = which == BILLFISH_PART_CODES ? code_place(shape, shape.format, row, column) : zero_place(shape, shape.format, row, column);
  }
  *index = found.word;
  *bit = found.shift;
  return {};
}

}  // namespace
}  // namespace billfish::api

extern "C" billfish_status billfish_tools_place(const billfish_matrix* shape, billfish_part part, int64_t row, int64_t column,
                                                int64_t* index, int* bit) {
  return billfish::api::guarded([&] { return billfish::api::place(shape, part, row, column, index, bit); });
}
