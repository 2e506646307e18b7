// SPDX-License-Identifier: Apache-2.0
// Zero points: every format's 64 zeros of one group and strip as bytes, and from there to the other's words. They are few (one for every
// group of codes), so the loops are plain.
#include <cstring>
#include <limits>
#include <string>

#include "layout/awq_order.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/gptq.hpp"
#include "layout/marlin_zeros.hpp"
#include "pack/scales.hpp"
#include "pack/strips.hpp"

namespace billfish::pack {
namespace {

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

std::uint32_t load_at(const void* words, std::int64_t index) {
  std::uint32_t word = 0;
  std::memcpy(&word, static_cast<const char*>(words) + index * 4, sizeof word);
  return word;
}
void store_at(void* words, std::int64_t index, std::uint32_t word) {
  std::memcpy(static_cast<char*>(words) + index * 4, &word, sizeof word);
}

// Where the word of columns n .. n + 32 / bits - 1 lies, n a multiple of that, and at which bit its field i begins.
std::int64_t word_index(const QuantizedMatrix& m, std::int64_t group, std::int64_t n) {
  const int bits = bits_of(m.type);
  switch (m.format) {
    case Format::awq: return layout::awq_code(group, n, m.n).word;
    case Format::compressed_tensors: return layout::ct_zero(bits, group, n, m.groups()).word;
    default: return layout::gptq_zero(bits, group, n, m.n).word;
  }
}
int field_shift(Format format, int bits, int i) { return format == Format::awq ? 4 * layout::interleave8(i) : bits * i; }

// Columns n .. n + columns - 1 of one group, columns <= 64.
void read_zeros(const QuantizedMatrix& m, std::int64_t group, std::int64_t n, int columns, std::uint8_t* out) {
  const int bits = bits_of(m.type);
  if (m.format == Format::raw) {
    std::memcpy(out, static_cast<const std::uint8_t*>(m.zeros) + group * m.n + n, static_cast<std::size_t>(columns));
    return;
  }
  if (m.format == Format::marlin) {
    for (int c = 0; c < columns; ++c) {
      const layout::Place place = layout::marlin_zero(bits, group, n + c, m.padded_n());
      out[c] = static_cast<std::uint8_t>(layout::field_of(load_at(m.zeros, place.word), place.shift, bits));
    }
    return;
  }
  const int fields = 32 / bits;
  for (int c = 0; c < columns; c += fields) {
    std::uint32_t word = load_at(m.zeros, word_index(m, group, n + c));
    if (m.format == Format::gptq_v1) word = layout::gptq_zeros_from_v1(bits, word);
    for (int i = 0; i < fields && c + i < columns; ++i) {
      out[c + i] = static_cast<std::uint8_t>(layout::field_of(word, field_shift(m.format, bits, i), bits));
    }
  }
}

void write_zeros(const QuantizedMatrix& m, std::int64_t group, std::int64_t n, int columns, const std::uint8_t* zeros) {
  const int bits = bits_of(m.type);
  void* const out = const_cast<void*>(m.zeros);
  if (m.format == Format::raw) {
    std::memcpy(static_cast<std::uint8_t*>(out) + group * m.n + n, zeros, static_cast<std::size_t>(columns));
    return;
  }
  const int fields = 32 / bits;
  for (int c = 0; c < columns; c += fields) {
    std::uint32_t word = 0;
    for (int i = 0; i < fields && c + i < columns; ++i) word |= static_cast<std::uint32_t>(zeros[c + i]) << field_shift(m.format, bits, i);
    if (m.format == Format::gptq_v1) word = layout::gptq_zeros_to_v1(bits, word);
    store_at(out, word_index(m, group, n + c), word);
  }
}

int columns_at(const MatrixShape& shape, std::int64_t n) {
  return static_cast<int>(std::clamp<std::int64_t>(shape.n - n, 0, kStripColumns));
}

void put_marlin(PackedMatrix& target, std::int64_t group, std::int64_t n, const std::uint8_t* zeros) {
  const int bits = bits_of(target.type);
  std::uint32_t words[kStripColumns / 4] = {};
  for (int c = 0; c < kStripColumns; ++c) {
    const layout::Place place = layout::marlin_zero(bits, 0, c, kStripColumns);
    words[place.word] |= static_cast<std::uint32_t>(zeros[c]) << place.shift;
  }
  const std::int64_t first = group * layout::marlin_zero_row_words(bits, target.padded_n()) + n / kStripColumns * 2 * bits;
  std::memcpy(target.zeros + first, words, static_cast<std::size_t>(2 * bits) * sizeof(std::uint32_t));
}

}  // namespace

Status pack_zeros(const QuantizedMatrix& source, PackedMatrix& target, const Parallel& parallel) {
  const int bits = bits_of(source.type);
  const bool stored = has_zeros(source.type);
  if (!stored) target.zeros = nullptr;
  // Packed symmetric weights have no zeros; whatever a pointer to them says is not read.
  if (source.zeros == nullptr || (!stored && source.format == Format::marlin)) return {};
  std::atomic<std::int64_t> bad{kNone};
  run_strips(source, parallel, [&](std::int64_t n0, std::int64_t n1) {
    for (std::int64_t group = 0; group < source.groups(); ++group) {
      for (std::int64_t n = n0; n < n1; n += kStripColumns) {
        std::uint8_t zeros[kStripColumns] = {};
        const int columns = columns_at(source, n);
        read_zeros(source, group, n, columns, zeros);
        for (int c = 0; c < columns; ++c) {
          if (stored ? zeros[c] >> bits != 0 : zeros[c] != implicit_zero(source.type)) {
            keep_smallest(bad, group * source.n + n + c);
            return;
          }
        }
        if (stored) put_marlin(target, group, n, zeros);
      }
    }
  });
  if (bad.load() == kNone) return {};
  const std::int64_t group = bad.load() / source.n, n = bad.load() % source.n;
  std::uint8_t zeros[kStripColumns] = {};
  const std::int64_t strip = n / kStripColumns * kStripColumns;
  read_zeros(source, group, strip, columns_at(source, strip), zeros);
  std::string message = "the zero of k-group " + std::to_string(group) + ", column " + std::to_string(n) + " is " +
                        std::to_string(zeros[n - strip]) + "; type " + std::string(name_of(source.type)) + " ";
  message += stored ? "holds 0 to " + std::to_string((1 << bits) - 1)
                    : "means " + std::to_string(implicit_zero(source.type)) + " everywhere (use " + (bits == 4 ? "u4" : "u8") +
                          " for stored zeros)";
  return bad_input(message);
}

void unpack_zeros(const PackedMatrix& source, const QuantizedMatrix& target, const Parallel& parallel) {
  if (target.zeros == nullptr) return;
  if (target.format == Format::marlin) {
    if (source.zeros != nullptr) {
      std::memmove(const_cast<void*>(target.zeros), source.zeros, static_cast<std::size_t>(source.packed_zero_words()) * 4);
    }
    return;
  }
  QuantizedMatrix packed;  // the packed zeros, as the reader above takes them
  static_cast<MatrixShape&>(packed) = source;
  packed.format = Format::marlin;
  packed.zeros = source.zeros;
  run_strips(source, parallel, [&](std::int64_t n0, std::int64_t n1) {
    for (std::int64_t group = 0; group < source.groups(); ++group) {
      for (std::int64_t n = n0; n < n1; n += kStripColumns) {
        std::uint8_t zeros[kStripColumns];
        std::memset(zeros, implicit_zero(source.type), sizeof zeros);
        if (source.zeros != nullptr) read_zeros(packed, group, n, columns_at(source, n), zeros);
        write_zeros(target, group, n, columns_at(source, n), zeros);
      }
    }
  });
}

}  // namespace billfish::pack
