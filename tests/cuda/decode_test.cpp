// SPDX-License-Identifier: Apache-2.0
// The decode functors on the host: every code with every zero comes out as the exact integer code - zero, in the register and half that
// the tensor core expects, for words written by the layout that the packer uses.
#include "cuda/decode.cuh"

#include <gtest/gtest.h>

#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"

namespace billfish::cuda {
namespace {

template <WeightType kType, bool kBf16>
struct Case {
  using Functor = Decode<kType, kBf16>;
  static float half(std::uint32_t reg, int which) {
    const auto bits = static_cast<std::uint16_t>(reg >> (16 * which));
    return kBf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
  }
};

template <class T>
class DecodeTest : public testing::Test {};
using Cases = testing::Types<Case<WeightType::u4b8, false>, Case<WeightType::u4b8, true>, Case<WeightType::u4, false>,
                             Case<WeightType::u4, true>, Case<WeightType::u8b128, false>, Case<WeightType::u8b128, true>,
                             Case<WeightType::u8, false>, Case<WeightType::u8, true>>;
TYPED_TEST_SUITE(DecodeTest, Cases);

TYPED_TEST(DecodeTest, EveryCodeMinusEveryZeroIsExactInItsRegister) {
  using Functor = typename TypeParam::Functor;
  constexpr int bits = Functor::kBits;
  const int codes = 1 << bits;
  const int zeros = Functor::kZeros ? codes : 1;
  for (int zero = 0; zero < zeros; ++zero) {
    const int zero_high = codes - 1 - zero;  // the two columns of a lane have different zeros
    for (int code = 0; code < codes; ++code) {
      // A tile whose codes differ by place, so that a swapped pair of registers cannot pass.
      const auto code_at = [&](int kk, int nn) { return (code + 3 * kk + 5 * nn) % codes; };
      std::uint32_t words[256] = {};
      for (int kk = 0; kk < 16; ++kk) {
        for (int nn = 0; nn < 16; ++nn) {
          words[layout::marlin_word_in_tile(bits, kk, nn)] |= static_cast<std::uint32_t>(code_at(kk, nn))
                                                              << layout::marlin_shift_in_tile(bits, kk, nn);
        }
      }
      for (int lane = 0; lane < 32; ++lane) {
        std::uint32_t a[4] = {};
        Functor::block(words + lane * bits, Functor::addend(zero), Functor::addend(zero_high), a);
        if constexpr (Functor::kInPlace) {
          ASSERT_EQ(Functor::in_place_addend_of(Functor::addend(zero)), Functor::in_place_addend(zero));
          std::uint32_t same[4] = {};
          const int low = Functor::kZeros ? zero : 8, high = Functor::kZeros ? zero_high : 8;
          Functor::block_in_place(words + lane * bits, Functor::addend(low), Functor::addend(high), Functor::in_place_addend(low),
                                  Functor::in_place_addend(high), same);
          for (int index = 0; index < 4; ++index) ASSERT_EQ(same[index], a[index]) << "zero " << zero << " register " << index;
        }
        for (int index = 0; index < 4; ++index) {
          const int nn = lane / 4 + 8 * (index % 2);
          const int implicit = Functor::kZeros ? (index % 2 == 0 ? zero : zero_high) : 1 << (bits - 1);
          for (int which = 0; which < 2; ++which) {
            const int kk = lane % 4 * 2 + which + 8 * (index / 2);
            ASSERT_EQ(TypeParam::half(a[index], which), static_cast<float>(code_at(kk, nn) - implicit))
                << "lane " << lane << " register " << index << " half " << which << " zero " << zero;
          }
        }
      }
    }
  }
}

template <int kBits>
void expect_stored_zeros() {
  std::uint32_t words[32] = {};
  const auto zero_at = [](int n) { return (7 * n + 1) % (1 << kBits); };
  for (int n = 0; n < 64; ++n) {
    const layout::Place place = layout::marlin_zero(kBits, 0, n, 64);
    words[place.word] |= static_cast<std::uint32_t>(zero_at(n)) << place.shift;
  }
  for (int n8 = 0; n8 < 8; ++n8) {
    for (int j = 0; j < 8; ++j) EXPECT_EQ(stored_zero<kBits>(words + n8 * (kBits / 4), j), zero_at(n8 + 8 * j)) << n8 << " " << j;
  }
}

TEST(StoredZeros, ALaneFindsTheZerosOfItsEightColumns) {
  expect_stored_zeros<4>();
  expect_stored_zeros<8>();
}

}  // namespace
}  // namespace billfish::cuda
