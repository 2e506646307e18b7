// SPDX-License-Identifier: Apache-2.0
// Scales and zeros of one group and block, in panel order; and the way out: sums in panel order -> C in plain order.
// Included by the kernels' translation units only.
#pragma once

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/vector.hpp"
#include "cpu/kernels.hpp"

namespace billfish::cpu {
namespace {

struct GroupTables {
  alignas(64) float scales[kBlockColumns];
  alignas(64) std::uint32_t zeros[kBlockColumns];  // only of types that store them
  alignas(64) float zeros_f32[kBlockColumns];      // likewise
};

// Stored scales [at, at + kBlockColumns).
template <class Isa>
[[gnu::always_inline]] inline void load_scales(const Weights& w, std::int64_t at, typename Isa::F* out) {
  using F = typename Isa::F;
  using H = typename Lanes<Isa::kLanes>::H;
  constexpr int kVectors = kBlockColumns / Isa::kLanes;
  const auto* halves = static_cast<const std::uint16_t*>(w.scales) + at;
  if (w.scale_type == ElementType::f16) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) out[i] = Isa::from_f16(load<H>(halves + i * Isa::kLanes));
  } else if (w.scale_type == ElementType::bf16) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) out[i] = (F)(__builtin_convertvector(load<H>(halves + i * Isa::kLanes), typename Isa::U) << 16);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) out[i] = load<F>(static_cast<const float*>(w.scales) + at + i * Isa::kLanes);
  }
}

// The largest magnitudes of scales seen, as integers. Bad: not finite, or so large that scale * code is not (tile kernels whose panels
// are scaled).
constexpr std::int32_t kLargeScale = (127 + 119) << 23;
template <class Isa>
struct LargestScales {
  typename Isa::I lanes{};
  // Of a block, all at once: `lanes` is in memory, and a store takes as long as several comparisons.
  [[gnu::always_inline]] void see(const typename Isa::F* scales) {
    typename Isa::I largest = lanes;
#pragma GCC unroll 16
    for (int i = 0; i < kBlockColumns / Isa::kLanes; ++i) {
      const auto magnitude = (typename Isa::I)scales[i] & 0x7fffffff;
      largest = magnitude > largest ? magnitude : largest;
    }
    lanes = largest;
  }
  bool bad() const {
    std::int32_t largest = 0;
    for (int i = 0; i < Isa::kLanes; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
    return largest >= kLargeScale;
  }
};

// Tables of one group. Called for every chunk, so nothing here waits: what may be bad is only collected. One copy for all arithmetics.
template <class Isa, class C>
[[gnu::noinline]] void load_group(const Weights& w, std::int64_t block, std::int64_t group, GroupTables& tables,
                                  LargestScales<Isa>& largest) {
  using F = Lanes<8>::F;
  using U = Lanes<8>::U;
  constexpr int kAtOnce = Isa::kLanes;
  const std::int64_t row = group * w.scale_row + block * kBlockColumns;
  typename Isa::F stored[kBlockColumns / kAtOnce];  // by groups 8j + 2w + h
  load_scales<Isa>(w, row, stored);
  largest.see(stored);
  if (w.per_column) {
    static constexpr ColumnOrder<C::kBits> kOrder;
    alignas(64) float columns[kBlockColumns];
    std::memcpy(columns, stored, sizeof columns);
    for (int i = 0; i < kBlockColumns; ++i) tables.scales[i] = columns[kOrder.from[i]];
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kBlockColumns / kAtOnce; ++i)
      store(tables.scales + i * kAtOnce, C::kBits == 4 ? halves_apart(stored[i]) : stored[i]);
  }
  if constexpr (C::kZeros) {
    const std::uint32_t* words = w.zeros + group * w.zero_row_words + block * (kBlockColumns * C::kBits / 32);
    for (int j = 0; j < 8; ++j) {
      U z;
      if constexpr (C::kBits == 4) {
        z = (splat<U>(words[j]) >> U{0, 4, 8, 12, 16, 20, 24, 28}) & 15u;
      } else {
        const std::uint32_t a = words[2 * j], b = words[2 * j + 1];
        z = (U{a, a, a, a, b, b, b, b} >> U{0, 16, 8, 24, 0, 16, 8, 24}) & 255u;
      }
      store(tables.zeros + 8 * j, z);
      store(tables.zeros_f32 + 8 * j, __builtin_convertvector((Lanes<8>::I)z, F));
    }
  }
}

// What load_group will read of them.
template <class C>
[[gnu::always_inline]] inline void prefetch_group(const Weights& w, std::int64_t block, std::int64_t group) {
  const std::int64_t element = w.scale_type == ElementType::f32 ? 4 : 2;
  const char* scales = static_cast<const char*>(w.scales) + (group * w.scale_row + block * kBlockColumns) * element;
  for (std::int64_t byte = 0; byte < kBlockColumns * element; byte += 64) __builtin_prefetch(scales + byte, 0, 3);
  if constexpr (C::kZeros) __builtin_prefetch(w.zeros + group * w.zero_row_words + block * (kBlockColumns * C::kBits / 32), 0, 3);
}

// Columns [0, columns) of one row, as C's type.
template <class Isa>
[[gnu::always_inline]] inline void store_row(const typename Isa::F* values, const BlockArgs& args, void* c, std::int64_t columns) {
  constexpr int kLanes = Isa::kLanes;
  using U = typename Isa::U;
  using H = typename Lanes<kLanes>::H;
  alignas(64) unsigned char rest[kBlockColumns * 4];
  const bool whole = columns >= kBlockColumns;
  unsigned char* out = whole ? static_cast<unsigned char*>(c) : rest;
#pragma GCC unroll 8
  for (int i = 0; i < kBlockColumns / kLanes; ++i) {
    if (args.c_type == ElementType::f32) {
      store(out + 4 * kLanes * i, values[i]);
    } else if (args.c_type == ElementType::f16) {
      store(out + 2 * kLanes * i, Isa::to_f16(values[i]));
    } else {
      const U bits = (U)values[i];
      const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
      const U is_nan = (U)((bits & 0x7fffffffu) > 0x7f800000u);
      store(out + 2 * kLanes * i, __builtin_convertvector((is_nan & ((bits >> 16) | 0x40u)) | (~is_nan & rounded), H));
    }
  }
  if (!whole) std::memcpy(c, rest, static_cast<std::size_t>(columns) * (args.c_type == ElementType::f32 ? 4 : 2));
}

// Rows [begin, end) of C in one block, into L2 before they are written: a store that misses holds up those behind it. Asked for as if to be
// read: to own them at once takes bf16 at M = 4 2 % longer (Zen 5).
[[gnu::always_inline]] inline void prefetch_c(const BlockArgs& args, int block, int begin, int end) {
  const std::int64_t element = args.c_type == ElementType::f32 ? 4 : 2;
  const char* c = static_cast<const char*>(args.c) + block * kBlockColumns * element;
  for (int row = begin; row < end; ++row) {
    for (std::int64_t byte = 0; byte < kBlockColumns * element; byte += 64) __builtin_prefetch(c + row * args.ldc * element + byte, 0, 2);
  }
}

// Panel order -> plain order.
template <class Isa, class C>
[[gnu::always_inline]] inline void columns_in_order(const float* sums, typename Isa::F* out) {
  using F = typename Isa::F;
  if constexpr (Isa::kLanes == 16) {
#pragma GCC unroll 2
    for (int pair = 0; pair < 2; ++pair) {  // of w
      F four[2];                            // of j: [w][h][j]
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) four[i] = columns_of_w<C::kBits>(load<F>(sums + 32 * i), load<F>(sums + 32 * i + 16), pair);
      out[2 * pair] = __builtin_shufflevector(four[0], four[1], 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
      out[2 * pair + 1] = __builtin_shufflevector(four[0], four[1], 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    }
  } else {
    F in[8], transposed[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) in[j] = load<F>(sums + 8 * j);
    transpose8(in, transposed);  // transposed[q]: columns of one 8, j = 0..7
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) out[C::kBits == 4 ? q % 4 * 2 + q / 4 : q] = transposed[q];
  }
}

// Rows [begin, end) of the sums of args.blocks blocks (of several blocks: all) -> C, with bias. One copy for all arithmetics.
template <class Isa, class C>
[[gnu::noinline]] void store_blocks(const BlockArgs& args, int begin, int end) {
  using F = typename Isa::F;
  constexpr int kVectors = kBlockColumns / Isa::kLanes;
  const std::int64_t element = args.c_type == ElementType::f32 ? 4 : 2;
  for (int block = 0; block < args.blocks; ++block) {
    const std::int64_t column = block * kBlockColumns;
    for (int row = begin; row < end; ++row) {
      const float* sums = args.sums + (static_cast<std::int64_t>(block) * end + row) * kBlockColumns;
      F out[kVectors];
      columns_in_order<Isa, C>(sums, out);
      if (args.bias != nullptr) {
#pragma GCC unroll 8
        for (int i = 0; i < kVectors; ++i) out[i] += load<F>(args.bias + column + Isa::kLanes * i);
      }
      store_row<Isa>(out, args, static_cast<char*>(args.c) + (row * args.ldc + column) * element, args.columns - column);
    }
  }
}

}  // namespace
}  // namespace billfish::cpu
