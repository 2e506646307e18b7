// SPDX-License-Identifier: Apache-2.0
// One code, zero or scale at a time, of a matrix in either form. Called by the rest of reference/, by api/ (compare) and by tests; calls
// layout/ for every index. Nothing here checks: a matrix that pack::packed_sizes accepts is assumed.
#include <algorithm>
#include <cstring>

#include "core/half.hpp"
#include "layout/awq_order.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/gptq.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"
#include "reference/reference.hpp"

namespace billfish::reference {
namespace {

std::uint32_t word_at(const void* words, std::int64_t index) {
  std::uint32_t word = 0;  // a tensor in a file may lie at any address
  std::memcpy(&word, static_cast<const char*>(words) + index * 4, sizeof word);
  return word;
}

int field_at(const void* words, layout::Place place, int bits) {
  return static_cast<int>(layout::field_of(word_at(words, place.word), place.shift, bits));
}

int byte_at(const void* bytes, std::int64_t index) { return static_cast<const std::uint8_t*>(bytes)[index]; }

// The packed row that holds original row k.
std::int64_t packed_row(const QuantizedMatrix& m, std::int64_t k) {
  return m.perm == nullptr ? k : std::find(m.perm, m.perm + m.k, k) - m.perm;
}

}  // namespace

int code_at(const QuantizedMatrix& m, std::int64_t k, std::int64_t n) {
  const int bits = bits_of(m.type);
  switch (m.format) {
    case Format::gptq_v1:
    case Format::gptq_v2: return field_at(m.codes, layout::gptq_code(bits, k, n, m.n), bits);
    case Format::awq: return field_at(m.codes, layout::awq_code(k, n, m.n), bits);
    case Format::compressed_tensors: return field_at(m.codes, layout::ct_code(bits, k, n, m.k), bits);
    case Format::raw: return byte_at(m.codes, k * m.n + n);
    case Format::marlin: return field_at(m.codes, layout::marlin_code(bits, packed_row(m, k), n, m.padded_n()), bits);
  }
  return -1;
}

std::int64_t group_at(const QuantizedMatrix& m, std::int64_t k) {
  const std::int64_t row = m.format == Format::marlin ? packed_row(m, k) : k;  // a marlin matrix's g_idx is by packed row
  return m.g_idx != nullptr ? m.g_idx[row] : m.group_of_row(row);
}

int zero_of_group(const QuantizedMatrix& m, std::int64_t group, std::int64_t n) {
  if (!has_zeros(m.type)) return implicit_zero(m.type);
  const int bits = bits_of(m.type);
  switch (m.format) {
    case Format::gptq_v1: {
      const layout::Place place = layout::gptq_zero(bits, group, n, m.n);
      return static_cast<int>(layout::field_of(layout::gptq_zeros_from_v1(bits, word_at(m.zeros, place.word)), place.shift, bits));
    }
    case Format::gptq_v2: return field_at(m.zeros, layout::gptq_zero(bits, group, n, m.n), bits);
    case Format::awq: return field_at(m.zeros, layout::awq_code(group, n, m.n), bits);
    case Format::compressed_tensors: return field_at(m.zeros, layout::ct_zero(bits, group, n, m.groups()), bits);
    case Format::raw: return byte_at(m.zeros, group * m.n + n);
    case Format::marlin: return field_at(m.zeros, layout::marlin_zero(bits, group, n, m.padded_n()), bits);
  }
  return -1;
}

float scale_of_group(const QuantizedMatrix& m, std::int64_t group, std::int64_t n) {
  std::int64_t index = group * m.n + n;
  if (m.format == Format::compressed_tensors) index = layout::ct_scale(group, n, m.groups());
  if (m.format == Format::marlin) index = group * m.padded_n() + layout::marlin_scale(m.per_column(), n);
  return load_element(m.scales, m.scale_type, index);
}

int zero_at(const QuantizedMatrix& m, std::int64_t k, std::int64_t n) { return zero_of_group(m, group_at(m, k), n); }
float scale_at(const QuantizedMatrix& m, std::int64_t k, std::int64_t n) { return scale_of_group(m, group_at(m, k), n); }

int code_at(const PackedMatrix& m, std::int64_t packed_k, std::int64_t n) {
  const int bits = bits_of(m.type);
  return field_at(m.codes, layout::marlin_code(bits, packed_k, n, m.padded_n()), bits);
}

std::int64_t group_at(const PackedMatrix& m, std::int64_t packed_k) {
  // Padding rows go with the last real one.
  return m.g_idx != nullptr ? m.g_idx[std::min(packed_k, m.k - 1)] : m.group_of_row(packed_k);
}

int zero_of_group(const PackedMatrix& m, std::int64_t group, std::int64_t n) {
  const int bits = bits_of(m.type);
  return has_zeros(m.type) ? field_at(m.zeros, layout::marlin_zero(bits, group, n, m.padded_n()), bits) : implicit_zero(m.type);
}

float scale_of_group(const PackedMatrix& m, std::int64_t group, std::int64_t n) {
  return load_element(m.scales, m.scale_type, group * m.padded_n() + layout::marlin_scale(m.per_column(), n));
}

int zero_at(const PackedMatrix& m, std::int64_t packed_k, std::int64_t n) { return zero_of_group(m, group_at(m, packed_k), n); }
float scale_at(const PackedMatrix& m, std::int64_t packed_k, std::int64_t n) { return scale_of_group(m, group_at(m, packed_k), n); }

float bias_at(const PackedMatrix& m, std::int64_t n) {
  if (m.bias == nullptr) return 0;
  return load_element(m.bias, m.bias_type, m.bias_permuted ? layout::marlin_column_scale(n) : n);
}

std::vector<std::int64_t> packed_rows(const PackedMatrix& m) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(m.k));
  for (std::int64_t row = 0; row < m.k; ++row) rows[static_cast<std::size_t>(m.perm != nullptr ? m.perm[row] : row)] = row;
  return rows;
}

}  // namespace billfish::reference
