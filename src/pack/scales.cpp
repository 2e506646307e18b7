// SPDX-License-Identifier: Apache-2.0
// Scales move as bit patterns (a scale is never rounded), 64 columns at a time, every group of a strip of columns by one task.
#include "pack/scales.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "core/half.hpp"
#include "layout/compressed_tensors.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_zeros.hpp"
#include "pack/strips.hpp"

namespace billfish::pack {
namespace {

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

// Strides of a matrix of scales in checkpoint order, in elements: [groups, n], or by column.
struct Strides {
  std::int64_t group, column;
};
Strides strides_of(const QuantizedMatrix& m) { return m.format == Format::compressed_tensors ? Strides{1, m.groups()} : Strides{m.n, 1}; }

template <class Bits>
Bits load_bits(const void* base, std::int64_t index) {
  Bits bits = 0;
  std::memcpy(&bits, static_cast<const char*>(base) + index * static_cast<std::int64_t>(sizeof bits), sizeof bits);
  return bits;
}

template <class Bits>
void store_bits(void* base, std::int64_t index, Bits bits) {
  std::memcpy(static_cast<char*>(base) + index * static_cast<std::int64_t>(sizeof bits), &bits, sizeof bits);
}

// Magnitudes of bit patterns order like the numbers; from here on they are not finite.
std::uint32_t infinity_bits(ElementType type) {
  return type == ElementType::f32 ? 0x7f800000u : type == ElementType::f16 ? 0x7c00u : 0x7f80u;
}

// The smallest magnitude that is not 0 and the largest, as bit patterns; both 0 if there is none.
struct Range {
  std::uint32_t low, high;
};
template <class Bits>
Range range_of(const void* scales, std::int64_t begin, std::int64_t count) {
  using Signed = std::make_signed_t<Bits>;  // magnitudes have no sign bit, and vectors compare signed words
  constexpr auto kMagnitude = static_cast<Signed>(static_cast<Bits>(~Bits{0}) >> 1);
  Signed below = kMagnitude, high = 0;  // below: the smallest less 1, where 0 less 1 counts as the largest there is
  for (std::int64_t i = 0; i < count; ++i) {
    const auto magnitude = static_cast<Signed>(static_cast<Signed>(load_bits<Bits>(scales, begin + i)) & kMagnitude);
    high = std::max(high, magnitude);
    below = std::min(below, static_cast<Signed>((magnitude - 1) & kMagnitude));
  }
  return {high == 0 ? 0u : static_cast<std::uint32_t>(below) + 1, static_cast<std::uint32_t>(high)};
}

float magnitude_of(std::uint32_t bits, ElementType type) {
  if (type == ElementType::f32) return std::bit_cast<float>(bits);
  return type == ElementType::f16 ? f16_to_f32(static_cast<std::uint16_t>(bits)) : bf16_to_f32(static_cast<std::uint16_t>(bits));
}

// 64 scales into their order, or out of it: both orders are their own inverses, here as loops that the compiler can unroll.
template <class Bits>
void store_strip(Bits* to, bool per_column, const Bits* strip) {
  Bits line[kStripColumns];
  if (per_column) {
    for (int i = 0; i < kStripColumns; ++i) line[layout::marlin_column_scale(i)] = strip[i];
  } else {
    for (int i = 0; i < kStripColumns; ++i) line[i] = strip[layout::marlin_grouped_scale(i)];  // its own inverse
  }
  std::memcpy(to, line, sizeof line);
}

template <class Bits>
std::int64_t move_strip(const QuantizedMatrix& source, PackedMatrix& target, std::int64_t n0, std::int64_t n1) {
  const Strides strides = strides_of(source);
  const bool marlin = source.format == Format::marlin;
  const bool per_column = source.per_column();
  const auto not_finite = static_cast<Bits>(infinity_bits(source.scale_type));
  constexpr Bits kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;
  for (std::int64_t group = 0; group < source.groups(); ++group) {
    const std::int64_t row = group * source.padded_n();
    for (std::int64_t n = n0; n < n1; n += kStripColumns) {
      const int real = static_cast<int>(std::clamp<std::int64_t>(source.n - n, 0, kStripColumns));
      Bits strip[kStripColumns] = {};
      if (marlin) {
        for (int i = 0; i < kStripColumns; ++i) strip[i] = load_bits<Bits>(source.scales, row + n + layout::marlin_scale(per_column, i));
        std::fill(strip + real, strip + kStripColumns, Bits{0});  // padding of another packer may hold anything
      } else {
        const std::int64_t first = group * strides.group + n * strides.column;
        if (strides.column == 1) {
          std::memcpy(strip, static_cast<const char*>(source.scales) + first * static_cast<std::int64_t>(sizeof(Bits)),
                      static_cast<std::size_t>(real) * sizeof(Bits));
        } else {
          for (int i = 0; i < real; ++i) strip[i] = load_bits<Bits>(source.scales, first + i * strides.column);
        }
      }
      Bits largest = 0;
      for (int i = 0; i < kStripColumns; ++i) largest = std::max(largest, static_cast<Bits>(strip[i] & kMagnitude));
      if (largest >= not_finite) {
        const auto at = std::find_if(strip, strip + real, [&](Bits bits) { return (bits & kMagnitude) >= not_finite; });
        return group * source.n + n + (at - strip);
      }
      store_strip(static_cast<Bits*>(target.scales) + row + n, per_column, strip);
    }
  }
  return kNone;
}

template <class Bits>
void move_strip_back(const PackedMatrix& source, const QuantizedMatrix& target, std::int64_t n0, std::int64_t n1) {
  const Strides strides = strides_of(target);
  void* const out = const_cast<void*>(target.scales);
  for (std::int64_t group = 0; group < source.groups(); ++group) {
    const std::int64_t row = group * source.padded_n();
    if (target.format == Format::marlin) {
      std::memmove(static_cast<char*>(out) + (row + n0) * static_cast<std::int64_t>(sizeof(Bits)),
                   static_cast<const Bits*>(source.scales) + row + n0, static_cast<std::size_t>(n1 - n0) * sizeof(Bits));
      continue;
    }
    for (std::int64_t n = n0; n < std::min(n1, source.n); n += kStripColumns) {
      Bits strip[kStripColumns];
      store_strip(strip, source.per_column(), static_cast<const Bits*>(source.scales) + row + n);
      const int real = static_cast<int>(std::min<std::int64_t>(source.n - n, kStripColumns));
      const std::int64_t first = group * strides.group + n * strides.column;
      if (strides.column == 1) {
        std::memcpy(static_cast<char*>(out) + first * static_cast<std::int64_t>(sizeof(Bits)), strip,
                    static_cast<std::size_t>(real) * sizeof(Bits));
      } else {
        for (int i = 0; i < real; ++i) store_bits(out, first + i * strides.column, strip[i]);
      }
    }
  }
}

}  // namespace

Status pack_scales(const QuantizedMatrix& source, PackedMatrix& target, const Parallel& parallel) {
  std::atomic<std::int64_t> bad{kNone};
  run_strips(source, parallel, [&](std::int64_t n0, std::int64_t n1) {
    const std::int64_t first = source.scale_type == ElementType::f32 ? move_strip<std::uint32_t>(source, target, n0, n1)
                                                                     : move_strip<std::uint16_t>(source, target, n0, n1);
    keep_smallest(bad, first);
  });
  if (bad.load() == kNone) return {};
  const std::int64_t group = bad.load() / source.n, n = bad.load() % source.n;
  const Strides strides = strides_of(source);
  std::int64_t at = group * strides.group + n * strides.column;
  if (source.format == Format::marlin) at = group * source.padded_n() + layout::marlin_scale(source.per_column(), n);
  return bad_input("the scale of k-group " + std::to_string(group) + ", column " + std::to_string(n) + " is " +
                   std::to_string(load_element(source.scales, source.scale_type, at)) + "; scales must be finite");
}

void unpack_scales(const PackedMatrix& source, const QuantizedMatrix& target, const Parallel& parallel) {
  run_strips(source, parallel, [&](std::int64_t n0, std::int64_t n1) {
    if (source.scale_type == ElementType::f32) {
      move_strip_back<std::uint32_t>(source, target, n0, n1);
    } else {
      move_strip_back<std::uint16_t>(source, target, n0, n1);
    }
  });
}

bool has_wide_scales(const PackedMatrix& m, const Parallel& parallel) {
  const int bits = bits_of(m.type);
  const int top = (1 << bits) - 1;
  const float largest_f16 = 65504.0f, smallest_normal_f16 = 0x1p-14f;
  std::atomic<bool> wide{false};
  run_strips(m, parallel, [&](std::int64_t n0, std::int64_t n1) {
    for (std::int64_t group = 0; group < m.groups() && !wide.load(std::memory_order_relaxed); ++group) {
      // A strip's scales lie together, in some order: nearly always a look at the smallest and the largest will do.
      const std::int64_t begin = group * m.padded_n() + n0;
      const auto [low, high] = m.scale_type == ElementType::f32 ? range_of<std::uint32_t>(m.scales, begin, n1 - n0)
                                                                : range_of<std::uint16_t>(m.scales, begin, n1 - n0);
      const bool none = high == 0;
      if (!none && magnitude_of(low, m.scale_type) < smallest_normal_f16) wide.store(true);
      if (none || magnitude_of(high, m.scale_type) * static_cast<float>(top) <= largest_f16) continue;
      for (std::int64_t n = n0; n < std::min(n1, m.n); ++n) {
        const float scale = std::fabs(load_element(m.scales, m.scale_type, group * m.padded_n() + layout::marlin_scale(m.per_column(), n)));
        int zero = implicit_zero(m.type);
        if (has_zeros(m.type)) {
          const layout::Place place = layout::marlin_zero(bits, group, n, m.padded_n());
          zero = static_cast<int>(layout::field_of(m.zeros[place.word], place.shift, bits));
        }
        if (scale * static_cast<float>(std::max(zero, top - zero)) > largest_f16) wide.store(true);
      }
    }
  });
  return wide.load();
}

}  // namespace billfish::pack
