// SPDX-License-Identifier: Apache-2.0
// Vectors of 8 or 16 lanes as compiler extensions, and the shuffles that turn vectors of k pairs into vectors of columns.
// Included by the kernels' translation units only: the same source becomes SSE2, AVX2 or AVX-512 by the unit's flags.
#pragma once

// Vectors wider than the baseline registers never cross a call between units, so their ABI does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace billfish::cpu {
namespace {

template <int kLanes>
struct Lanes;
template <>
struct Lanes<4> {
  using U = std::uint32_t __attribute__((vector_size(16)));
};
template <>
struct Lanes<8> {
  using F = float __attribute__((vector_size(32)));
  using U = std::uint32_t __attribute__((vector_size(32)));
  using I = std::int32_t __attribute__((vector_size(32)));
  using H = std::uint16_t __attribute__((vector_size(16)));
};
template <>
struct Lanes<16> {
  using F = float __attribute__((vector_size(64)));
  using U = std::uint32_t __attribute__((vector_size(64)));
  using I = std::int32_t __attribute__((vector_size(64)));
  using H = std::uint16_t __attribute__((vector_size(32)));
};

template <class Vector>
[[gnu::always_inline]] inline Vector load(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class Vector>
[[gnu::always_inline]] inline void store(void* to, Vector v) {
  std::memcpy(to, &v, sizeof v);
}
template <class Vector>
[[gnu::always_inline]] inline Vector splat(std::uint32_t bits) {
  return reinterpret_cast<Vector>(bits - typename Lanes<static_cast<int>(sizeof(Vector) / 4)>::U{});
}
template <class Vector>
[[gnu::always_inline]] inline Vector splat(float value) {
  return value - Vector{};  // value - 0 is value, signed zero and NaN included
}

// [a's lower half, b's lower half] and so on.
template <class Vector>
[[gnu::always_inline]] inline Vector low_halves(Vector a, Vector b) {
  if constexpr (sizeof(Vector) == 32)
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
  else
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
}
template <class Vector>
[[gnu::always_inline]] inline Vector high_halves(Vector a, Vector b) {
  if constexpr (sizeof(Vector) == 32)
    return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  else
    return __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
// The same from memory: half a vector each.
template <class Vector>
[[gnu::always_inline]] inline Vector two_halves(const void* low, const void* high) {
  using Half = typename Lanes<static_cast<int>(sizeof(Vector) / 8)>::U;
  return (Vector)__builtin_shufflevector(load<Half>(low), load<Half>(high), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
// Quarters 0 and 2 (1 and 3) of a, then of b; 16 lanes only.
template <class Vector>
[[gnu::always_inline]] inline Vector even_quarters(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}
template <class Vector>
[[gnu::always_inline]] inline Vector odd_quarters(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

// What even_quarters and odd_quarters made two of: quarters of a and b in turn, of their lower and their upper halves.
template <class Vector>
[[gnu::always_inline]] inline Vector low_quarters_in_turn(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
}
template <class Vector>
[[gnu::always_inline]] inline Vector high_quarters_in_turn(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
}

// Of every eight lanes those with even numbers, then those with odd ones.
template <class Vector>
[[gnu::always_inline]] inline Vector halves_apart(Vector v) {
  if constexpr (sizeof(Vector) == 32)
    return __builtin_shufflevector(v, v, 0, 2, 4, 6, 1, 3, 5, 7);
  else
    return __builtin_shufflevector(v, v, 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
}

// kCount vectors, each kCount parts (k pairs) of V / kCount columns -> kCount vectors, one for each k pair, of V columns.
template <int kCount, class Vector>
[[gnu::always_inline]] inline void pairs_to_columns(const Vector* in, Vector* out) {
  if constexpr (kCount == 1) {
    out[0] = in[0];
  } else {
    static_assert(kCount == 2);
    out[0] = low_halves(in[0], in[1]);
    out[1] = high_halves(in[0], in[1]);
  }
}

// Words of one k pair of 16 columns, in panel order, from a line of each of two neighbouring j. A line holds kLinePairs k pairs. A word of
// 4-bit codes is two columns: it is there twice, and who decodes it takes column 16w in lanes 0-3 and 8-11, column 16w + 8 in the others.
template <int kLinePairs, class Vector>
[[gnu::always_inline]] inline Vector column_words(Vector a, Vector b, int pair) {
  static_assert(sizeof(Vector) == 64 && (kLinePairs == 4 || kLinePairs == 2));
  if constexpr (kLinePairs == 2) return pair % 2 == 0 ? low_halves(a, b) : high_halves(a, b);
  switch (pair) {
    case 0: return __builtin_shufflevector(a, b, 0, 1, 2, 3, 0, 1, 2, 3, 16, 17, 18, 19, 16, 17, 18, 19);
    case 1: return __builtin_shufflevector(a, b, 4, 5, 6, 7, 4, 5, 6, 7, 20, 21, 22, 23, 20, 21, 22, 23);
    case 2: return __builtin_shufflevector(a, b, 8, 9, 10, 11, 8, 9, 10, 11, 24, 25, 26, 27, 24, 25, 26, 27);
    default: return __builtin_shufflevector(a, b, 12, 13, 14, 15, 12, 13, 14, 15, 28, 29, 30, 31, 28, 29, 30, 31);
  }
}
// By how much more a lane of such a vector is shifted: 8 for the second column of a word.
template <class U>
constexpr U kSecondColumn = {0, 0, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0, 8, 8, 8, 8};

// kCount vectors, each kCount parts of V / kCount columns -> the sum of the parts: one vector of V columns. The additions have one order.
template <int kCount, class Vector>
[[gnu::always_inline]] inline Vector sum_pairs(const Vector* in) {
  if constexpr (kCount == 1) {
    return in[0];
  } else if constexpr (kCount == 2) {
    return low_halves(in[0], in[1]) + high_halves(in[0], in[1]);
  } else {
    const Vector a = low_halves(in[0], in[1]) + high_halves(in[0], in[1]);
    const Vector b = low_halves(in[2], in[3]) + high_halves(in[2], in[3]);
    return even_quarters(a, b) + odd_quarters(a, b);
  }
}

// kWords words, repeated over all lanes.
template <class Vector, int kWords>
[[gnu::always_inline]] inline Vector repeat(const std::uint32_t* words) {
  if constexpr (kWords == 4) {
    const auto v = load<Lanes<4>::U>(words);
    if constexpr (sizeof(Vector) == 32)
      return __builtin_shufflevector(v, v, 0, 1, 2, 3, 0, 1, 2, 3);
    else
      return __builtin_shufflevector(v, v, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
  } else {
    const auto v = load<Lanes<8>::U>(words);
    if constexpr (sizeof(Vector) == 32)
      return v;
    else
      return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
  }
}

// Positions of two times two j in panel order -> the columns of the w of one pair: [w][h][j].
template <int kBits, class Vector>
[[gnu::always_inline]] inline Vector columns_of_w(Vector a, Vector b, int pair) {
  if (kBits == 4)
    return pair == 0 ? __builtin_shufflevector(a, b, 0, 8, 16, 24, 4, 12, 20, 28, 1, 9, 17, 25, 5, 13, 21, 29)
                     : __builtin_shufflevector(a, b, 2, 10, 18, 26, 6, 14, 22, 30, 3, 11, 19, 27, 7, 15, 23, 31);
  return pair == 0 ? __builtin_shufflevector(a, b, 0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27)
                   : __builtin_shufflevector(a, b, 4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31);
}

// Eight vectors of eight, transposed: out[i][j] = in[j][i].
[[gnu::always_inline]] inline void transpose8(const Lanes<8>::F* in, Lanes<8>::F* out) {
  using F = Lanes<8>::F;
  F a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    a[i] = __builtin_shufflevector(in[i], in[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    a[i + 1] = __builtin_shufflevector(in[i], in[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {
    b[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    b[i + 2] = __builtin_shufflevector(a[i + 1], a[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 3] = __builtin_shufflevector(a[i + 1], a[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    out[i] = low_halves(b[i], b[i + 4]);
    out[i + 4] = high_halves(b[i], b[i + 4]);
  }
}

}  // namespace
}  // namespace billfish::cpu
