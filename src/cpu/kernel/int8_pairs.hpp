// SPDX-License-Identifier: Apache-2.0
// int8 activations times 4-bit codes where there is no int8 dot: vpmaddubsw multiplies bytes and adds pairs of products into 16 bits,
// and sixteen such pairs join one 16-bit sum before it is widened. Exact. Included by the kernels' translation units only.
//
// Why sixteen: codes enter as they lie, unsigned, but a partial sum begins at -8 times the sum of the activations that it will meet
// (`begins`, made while packing). So it ends as the sum of (code - 8) * a over 32 products, at most 32 * 8 * 127 = 32512 in magnitude;
// what happens on the way is arithmetic modulo 2^16. One product of vpmaddubsw is at most 2 * 15 * 127, so nothing saturates.
// Without stored zeros that is all; with them (zero - 8) times the sum of the activations is subtracted at the end of a chunk.
#pragma once

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/int8_quads.hpp"
#include "cpu/kernel/vector.hpp"

namespace billfish::cpu {
namespace {

constexpr std::uint32_t both16(int low, int high) {
  return (static_cast<std::uint32_t>(low) & 0xffffu) | static_cast<std::uint32_t>(high) << 16;
}

template <class Isa>
struct Int8Partials : Int8Quads<Isa> {
  using Instructions = Isa;
  using U = typename Int8Quads<Isa>::U;
  using I = typename Int8Quads<Isa>::I;
  using Partial = U;
  static constexpr int kPartialSteps = 4;
  static constexpr bool kByColumns = false;
  static constexpr int kChunkSteps = kChunkPartials * kPartialSteps;
  static constexpr int kCentre = 8;
  template <class C>
  struct Zero {};
  template <class C>
  [[gnu::always_inline]] static Zero<C> zero(const std::uint32_t*) {
    return {};
  }
  static_assert(Isa::kLanes == 8);
  static_assert(kPartialSteps * 8 * kCentre * 127 < 1 << 15 && 2 * 15 * 127 < 1 << 15);
};

// For tiles: a quad of one column a lane, k = 2p, 2p + 8, 2p + 1, 2p + 9; widening adds the two pairs.
template <class Isa>
struct Int8QuadPartials : Int8Partials<Isa> {
  using Int8Partials<Isa>::kCentre;
  static constexpr int kBeginWords = 1;
  using U = typename Int8Partials<Isa>::U;
  using I = typename Int8Partials<Isa>::I;
  template <class C>
  using Zero = typename Int8Partials<Isa>::template Zero<C>;
  struct Fields {
    U low, high;  // rows 0..7 and 8..15 of a step, columns parted
  };
  template <class C, int kRows = 0>
  [[gnu::always_inline]] static Fields fields(U words, const Zero<C>&) {
    if constexpr (C::kBits == 8) return {words, words};
    const U parted = Isa::part_columns(words);
    return {parted & 0x0f0f0f0fu, (parted >> 4) & 0x0f0f0f0fu};
  }
  template <class C>
  [[gnu::always_inline]] static U weight(const Fields& f, const Zero<C>&, int h, int) {
    if constexpr (C::kBits == 8) return f.low;
    return h == 0 ? Isa::low_bytes(f.low, f.high) : Isa::high_bytes(f.low, f.high);
  }
  [[gnu::always_inline]] static I widen(I sum, U partial, int) { return sum + Isa::multiply_pairs(partial, splat<U>(0x00010001u)); }
  [[gnu::always_inline]] static void pack(U low, U high, std::uint32_t* dwords) {
    const U both = (low & 0xffu) | (high & 0xffu) << 8;  // k and k + 8
    const auto even = __builtin_shufflevector(both, both, 0, 2, 4, 6);
    const auto odd = __builtin_shufflevector(both, both, 1, 3, 5, 7);
    store(dwords, even | odd << 16);
  }
  // The first pair of every quad has the even k, the second the odd.
  [[gnu::always_inline]] static void store_begin(I lanes, std::uint32_t* to) {
    const int even = lanes[0] + lanes[2] + lanes[4] + lanes[6], odd = lanes[1] + lanes[3] + lanes[5] + lanes[7];
    to[0] = both16(-kCentre * even, -kCentre * odd);
  }
};

// For streams: the fewest instructions to decode. A byte shuffle puts the even and the odd k of a column side by side, so that the 16-bit
// lanes of a partial sum are columns, both halves of a word in one.
template <class Isa>
struct Int8Pairs : Int8Partials<Isa> {
  using Int8Partials<Isa>::kCentre;
  static constexpr int kBeginWords = 8;
  using U = typename Int8Partials<Isa>::U;
  using I = typename Int8Partials<Isa>::I;
  static constexpr int kSlots = 2;  // k pairs (2p, 2p + 1) + 8 * slot
  static constexpr bool kJoinsHalves = true;
  template <class C>
  using Zero = typename Int8Partials<Isa>::template Zero<C>;
  struct Fields {
    U words;
  };
  template <class C, int kRows = 0>
  [[gnu::always_inline]] static Fields fields(U words, const Zero<C>&) {
    return {Isa::part_columns(words)};
  }
  template <class C>
  [[gnu::always_inline]] static U weight(const Fields& f, const Zero<C>&, int, int slot) {
    return (slot == 0 ? f.words : f.words >> 4) & 0x0f0f0f0fu;
  }
  // Two partial sums of the same columns -> their sums: of the columns 16w, then of 16w + 8.
  [[gnu::always_inline]] static void widen(U first, U second, I* sum) {
    sum[0] = Isa::multiply_pairs(Isa::low_words(first, second), splat<U>(0x00010001u));
    sum[1] = Isa::multiply_pairs(Isa::high_words(first, second), splat<U>(0x00010001u));
  }

  // dwords[slot * 4 + p]: the pair twice.
  [[gnu::always_inline]] static void pack(U low, U high, std::uint32_t* dwords) {
    const U even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14) & 0xffu;
    const U odd = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15) & 0xffu;
    const U pair = even | odd << 8;
    store(dwords, pair | pair << 16);
  }
  // A vector holds the pairs p and p + 1 for even p; both columns of a word begin alike.
  [[gnu::always_inline]] static void store_begin(I lanes, std::uint32_t* to) {
    const int first = -kCentre * (lanes[0] + lanes[1] + lanes[4] + lanes[5]),
              second = -kCentre * (lanes[2] + lanes[3] + lanes[6] + lanes[7]);
    store(to, splat<Lanes<4>::U>(both16(first, first)));
    store(to + 4, splat<Lanes<4>::U>(both16(second, second)));
  }
};

}  // namespace
}  // namespace billfish::cpu
