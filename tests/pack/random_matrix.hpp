// SPDX-License-Identifier: Apache-2.0
// Random quantised matrices in any checkpoint format, with memory of their own, and packed memory with guards around every part. For the
// tests of pack/ and reference/.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "core/half.hpp"
#include "core/matrix.hpp"
#include "layout/awq_order.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/gptq.hpp"
#include "pack/pack.hpp"

namespace billfish::testing {

// Bytes between two guards of 64 bytes; `begin` is aligned to 16 bytes plus `skew`.
class Guarded {
 public:
  void reset(std::int64_t bytes, std::uint8_t poison, std::int64_t skew = 0) {
    bytes_ = bytes;
    memory_.assign(static_cast<std::size_t>(bytes + 2 * kGuard + 32), kGuardByte);
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    begin_ = static_cast<std::int64_t>((address + 15) / 16 * 16 - address) + kGuard + skew;
    std::fill_n(memory_.begin() + begin_, bytes, poison);
  }
  void* begin() { return memory_.data() + begin_; }
  const void* begin() const { return memory_.data() + begin_; }
  template <class T>
  T* as() {
    return static_cast<T*>(begin());
  }
  std::int64_t bytes() const { return bytes_; }
  bool intact() const {
    const auto guards = [](std::uint8_t byte) { return byte == kGuardByte; };
    return std::all_of(memory_.begin(), memory_.begin() + begin_, guards) &&
           std::all_of(memory_.begin() + begin_ + bytes_, memory_.end(), guards);
  }
  bool operator==(const Guarded& other) const {
    return bytes_ == other.bytes_ && std::memcmp(begin(), other.begin(), static_cast<std::size_t>(bytes_)) == 0;
  }

 private:
  static constexpr std::int64_t kGuard = 64;
  static constexpr std::uint8_t kGuardByte = 0xc5;
  std::vector<std::uint8_t> memory_;
  std::int64_t begin_ = 0, bytes_ = 0;
};

enum class Order { none, trivial, sorted_uneven, permuted, permuted_uneven };

struct Recipe {
  Format format = Format::gptq_v1;
  WeightType type = WeightType::u4b8;
  ElementType scale_type = ElementType::f16;
  std::int64_t n = 64, k = 128, group = 64;
  Order order = Order::none;
  bool bias = false;
  bool stored_constant_zeros = false;  // symmetric types: constant zeros in the file
  std::int64_t skew = 0;               // bytes by which the file's tensors miss their alignment
};

// Bytes of codes and zeros in checkpoint order.
inline std::int64_t checkpoint_code_bytes(const QuantizedMatrix& m) {
  const int bits = bits_of(m.type);
  switch (m.format) {
    case Format::awq: return m.k * layout::awq_row_words(m.n) * 4;
    case Format::compressed_tensors: return m.n * layout::ct_code_row_words(bits, m.k) * 4;
    case Format::raw: return m.k * m.n;
    case Format::marlin: return m.packed_code_words() * 4;
    default: return ceil_div(m.k * bits, 32) * m.n * 4;
  }
}
inline std::int64_t checkpoint_zero_bytes(const QuantizedMatrix& m) {
  const int bits = bits_of(m.type);
  switch (m.format) {
    case Format::awq: return m.groups() * layout::awq_row_words(m.n) * 4;
    case Format::compressed_tensors: return ceil_div(m.n * bits, 32) * m.groups() * 4;
    case Format::raw: return m.groups() * m.n;
    case Format::marlin: return m.packed_zero_words() * 4;
    default: return m.groups() * layout::gptq_zero_row_words(bits, m.n) * 4;
  }
}

// A matrix in checkpoint order and all its memory.
struct Checkpoint {
  QuantizedMatrix matrix;
  Guarded codes, zeros, scales, bias;
  std::vector<std::int32_t> g_idx, perm;
  Checkpoint() = default;
  Checkpoint(const Checkpoint&) = delete;

  // Same shape and format, filled with poison: for unpack.
  void like(const QuantizedMatrix& m, Format format, std::int64_t skew = 0) {
    matrix = m;
    matrix.format = format;
    codes.reset(checkpoint_code_bytes(matrix), 0x5a, skew);
    zeros.reset(checkpoint_zero_bytes(matrix), 0x5a, skew);
    scales.reset((format == Format::marlin ? m.packed_scales() : m.groups() * m.n) * bytes_of(m.scale_type), 0x5a, skew);
    bias.reset(m.n * bytes_of(m.bias_type), 0x5a, skew);
    g_idx.assign(static_cast<std::size_t>(m.k), -77);
    perm.assign(static_cast<std::size_t>(m.k), -77);
    matrix.codes = codes.begin();
    matrix.zeros = zeros.begin();
    matrix.scales = scales.begin();
    matrix.bias = bias.begin();
    matrix.g_idx = nullptr;
    matrix.perm = nullptr;
  }
};

inline void or_field(void* words, layout::Place place, std::uint32_t value) {
  std::uint32_t word = 0;
  char* const at = static_cast<char*>(words) + place.word * 4;
  std::memcpy(&word, at, sizeof word);
  word |= value << place.shift;
  std::memcpy(at, &word, sizeof word);
}

inline void put_code(Checkpoint& c, std::int64_t k, std::int64_t n, int code) {
  const QuantizedMatrix& m = c.matrix;
  const int bits = bits_of(m.type);
  const auto value = static_cast<std::uint32_t>(code);
  if (m.format == Format::raw) {
    c.codes.as<std::uint8_t>()[k * m.n + n] = static_cast<std::uint8_t>(code);
  } else if (m.format == Format::awq) {
    or_field(c.codes.begin(), layout::awq_code(k, n, m.n), value);
  } else if (m.format == Format::compressed_tensors) {
    or_field(c.codes.begin(), layout::ct_code(bits, k, n, m.k), value);
  } else {
    or_field(c.codes.begin(), layout::gptq_code(bits, k, n, m.n), value);
  }
}

inline void put_zero(Checkpoint& c, std::int64_t group, std::int64_t n, int zero) {
  const QuantizedMatrix& m = c.matrix;
  const int bits = bits_of(m.type);
  const auto value = static_cast<std::uint32_t>(zero);
  if (m.format == Format::raw) {
    c.zeros.as<std::uint8_t>()[group * m.n + n] = static_cast<std::uint8_t>(zero);
  } else if (m.format == Format::awq) {
    or_field(c.zeros.begin(), layout::awq_code(group, n, m.n), value);
  } else if (m.format == Format::compressed_tensors) {
    or_field(c.zeros.begin(), layout::ct_zero(bits, group, n, m.groups()), value);
  } else {
    or_field(c.zeros.begin(), layout::gptq_zero(bits, group, n, m.n), value);
  }
}

inline std::vector<std::int32_t> make_g_idx(const QuantizedMatrix& m, Order order, std::mt19937_64& random) {
  std::vector<std::int32_t> g_idx(static_cast<std::size_t>(m.k));
  for (std::int64_t k = 0; k < m.k; ++k) {
    const bool uneven = order == Order::sorted_uneven || order == Order::permuted_uneven;
    g_idx[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(
        uneven ? static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(m.groups())) : m.group_of_row(k));
  }
  if (order == Order::sorted_uneven) std::sort(g_idx.begin(), g_idx.end());
  if (order == Order::permuted || order == Order::permuted_uneven) std::shuffle(g_idx.begin(), g_idx.end(), random);
  return g_idx;
}

// Random codes, zeros (0 and the largest among them), scales of both signs, bias.
inline void fill_random(Checkpoint& c, const Recipe& recipe, std::mt19937_64& random) {
  QuantizedMatrix shape;
  shape.type = recipe.type;
  shape.scale_type = shape.bias_type = recipe.scale_type;
  shape.n = recipe.n;
  shape.k = recipe.k;
  shape.group = resolve_group(recipe.group, recipe.k);
  c.like(shape, recipe.format, recipe.skew);
  std::memset(c.codes.begin(), 0, static_cast<std::size_t>(c.codes.bytes()));
  std::memset(c.zeros.begin(), 0, static_cast<std::size_t>(c.zeros.bytes()));
  const int top = (1 << bits_of(recipe.type)) - 1;
  const auto below = [&](int limit) { return static_cast<int>(random() % static_cast<std::uint64_t>(limit)); };
  for (std::int64_t k = 0; k < shape.k; ++k) {
    for (std::int64_t n = 0; n < shape.n; ++n) put_code(c, k, n, below(top + 1));
  }
  for (std::int64_t group = 0; group < shape.groups(); ++group) {
    for (std::int64_t n = 0; n < shape.n; ++n) {
      const int draw = below(8);
      put_zero(c, group, n, !has_zeros(recipe.type) ? implicit_zero(recipe.type) : draw == 0 ? 0 : draw == 1 ? top : below(top + 1));
      const float scale = (0.5f + static_cast<float>(below(1000)) / 1000) * (below(4) == 0 ? -0.01f : 0.01f);
      const std::int64_t at =
          recipe.format == Format::compressed_tensors ? layout::ct_scale(group, n, shape.groups()) : group * shape.n + n;
      store_element(c.scales.begin(), shape.scale_type, at, below(50) == 0 ? 0.0f : scale);
    }
  }
  if (recipe.format == Format::gptq_v1) {
    for (std::int64_t word = 0; word < c.zeros.bytes() / 4; ++word) {
      char* const at = c.zeros.as<char>() + word * 4;
      std::uint32_t zeros = 0;
      std::memcpy(&zeros, at, sizeof zeros);
      zeros = layout::gptq_zeros_to_v1(bits_of(recipe.type), zeros);
      std::memcpy(at, &zeros, sizeof zeros);
    }
  }
  if (!has_zeros(recipe.type) && !recipe.stored_constant_zeros) c.matrix.zeros = nullptr;
  if (recipe.order != Order::none) {
    c.g_idx = make_g_idx(c.matrix, recipe.order, random);
    c.matrix.g_idx = c.g_idx.data();
  }
  for (std::int64_t n = 0; n < shape.n; ++n)
    store_element(c.bias.begin(), shape.bias_type, n, static_cast<float>(below(2000) - 1000) / 100);
  if (!recipe.bias) c.matrix.bias = nullptr;
}

// Packed memory of the right sizes, poisoned.
struct Packed {
  PackedMatrix matrix;
  Guarded codes, scales, zeros, perm, g_idx, bias;
  Packed() = default;
  Packed(const Packed&) = delete;

  void reset(const pack::PackedSizes& sizes, std::uint8_t poison) {
    const auto part = [&](Guarded& memory, std::int64_t bytes) {
      memory.reset(bytes, poison);
      return bytes > 0 ? memory.begin() : nullptr;
    };
    matrix = PackedMatrix();
    matrix.codes = static_cast<std::uint32_t*>(part(codes, sizes.codes));
    matrix.scales = part(scales, sizes.scales);
    matrix.zeros = static_cast<std::uint32_t*>(part(zeros, sizes.zeros));
    matrix.perm = static_cast<std::int32_t*>(part(perm, sizes.perm));
    matrix.g_idx = static_cast<std::int32_t*>(part(g_idx, sizes.g_idx));
    matrix.bias = part(bias, sizes.bias);
  }
  bool intact() const { return codes.intact() && scales.intact() && zeros.intact() && perm.intact() && g_idx.intact() && bias.intact(); }
  bool operator==(const Packed& other) const {
    return codes == other.codes && scales == other.scales && zeros == other.zeros && perm == other.perm && g_idx == other.g_idx &&
           bias == other.bias && matrix.wide_scales == other.matrix.wide_scales &&
           static_cast<const MatrixShape&>(matrix) == static_cast<const MatrixShape&>(other.matrix);
  }
};

}  // namespace billfish::testing
