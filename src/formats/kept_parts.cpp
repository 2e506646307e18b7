// SPDX-License-Identifier: Apache-2.0
// Decides what packing would lose.
#include "formats/kept_parts.hpp"

#include <cstring>

#include "formats/load.hpp"

namespace billfish::formats {
namespace {

bool has_tail(const MatrixShape& shape, Format format) {
  const bool along_k = format == Format::gptq_v1 || format == Format::gptq_v2 || format == Format::compressed_tensors;
  return along_k && shape.k % codes_per_word(shape.type) != 0;
}

std::int64_t tail_word(const MatrixShape& shape, Format format, std::int64_t column) {
  const std::int64_t words = ceil_div(shape.k, codes_per_word(shape.type));
  return format == Format::compressed_tensors ? column * words + words - 1 : (words - 1) * shape.n + column;
}

bool all_words_are(const std::byte* data, std::int64_t bytes, std::uint32_t word) {
  for (std::int64_t i = 0; i < bytes / 4; ++i) {
    if (read_i32(data, i) != static_cast<std::int32_t>(word)) return false;
  }
  return true;
}

}  // namespace

std::vector<std::uint32_t> read_tail(const MatrixShape& shape, Format format, const void* codes) {
  std::vector<std::uint32_t> out(static_cast<std::size_t>(shape.n));
  for (std::int64_t column = 0; column < shape.n; ++column) {
    std::memcpy(&out[static_cast<std::size_t>(column)], static_cast<const std::byte*>(codes) + tail_word(shape, format, column) * 4, 4);
  }
  return out;
}

void write_tail(const MatrixShape& shape, Format format, const std::vector<std::uint32_t>& tail, void* codes) {
  for (std::int64_t column = 0; column < shape.n; ++column) {
    std::memcpy(static_cast<std::byte*>(codes) + tail_word(shape, format, column) * 4, &tail[static_cast<std::size_t>(column)], 4);
  }
}

Kept parts_to_keep(const Model& model, const Layer& layer, const QuantizedMatrix& matrix) {
  Kept out;
  const int bits = bits_of(matrix.type);
  if (const Part* zeros = layer.part(Role::zeros)) {
    const std::byte* data = model.data(zeros->place);
    out.zeros = has_zeros(matrix.type) ? matrix.n % codes_per_word(matrix.type) != 0
                                       : !all_words_are(data, zeros->place.tensor->bytes, symmetric_word(matrix.format, bits));
  }
  const Part* g_idx = layer.part(Role::g_idx);
  if (g_idx && !layer.info.act_order) {
    const std::byte* data = model.data(g_idx->place);
    for (std::int64_t k = 0; k < matrix.k && !out.g_idx; ++k) out.g_idx = read_i32(data, k) != k / matrix.group;
  }
  if (has_tail(matrix, matrix.format)) {
    const std::uint32_t real = (1u << (static_cast<unsigned>(matrix.k % codes_per_word(matrix.type)) * static_cast<unsigned>(bits))) - 1;
    for (const std::uint32_t word : read_tail(matrix, matrix.format, matrix.codes)) out.tail = out.tail || (word & ~real) != 0;
  }
  return out;
}

}  // namespace billfish::formats
