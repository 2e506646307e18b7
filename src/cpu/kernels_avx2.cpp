// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX2, FMA and F16C. Compiled with those flags and nothing else of the library in it: see CMakeLists.txt.
#include "cpu/kernels.hpp"

#if defined(__AVX2__)
#include <immintrin.h>

#include "cpu/kernel/float32.hpp"
#include "cpu/kernel/float32_subnormals.hpp"
#include "cpu/kernel/float32_sums.hpp"
#include "cpu/kernel/int16_pairs.hpp"
#include "cpu/kernel/int8_pairs.hpp"
#include "cpu/kernel/table.hpp"

namespace billfish::cpu {
namespace {

struct Avx2 {  // one instruction a function
  static constexpr int kLanes = 8;
  using F = Lanes<8>::F;
  using U = Lanes<8>::U;
  using I = Lanes<8>::I;
  using H = Lanes<8>::H;
  // Sums stay where they are: left to choose, the compiler lets them wander through registers, and one of eight through memory, which
  // makes the chain of its additions a quarter longer than the arithmetic.
  [[gnu::always_inline]] static F multiply_add(F a, F b, F c) {
    __asm__("vfmadd231ps %[b], %[a], %[c]" : [c] "+x"(c) : [a] "x"(a), [b] "x"(b));
    return c;
  }
  [[gnu::always_inline]] static I multiply_pairs(U a, U b) { return (I)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
  [[gnu::always_inline]] static U subtract16(U a, U b) { return (U)_mm256_sub_epi16((__m256i)a, (__m256i)b); }
  // The even and odd k of column 0 (h = 0) of four words, then of column 8.
  [[gnu::always_inline]] static U part_columns(U a) {
    const __m256i order =
        _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return (U)_mm256_shuffle_epi8((__m256i)a, order);
  }
  // 16-bit lanes of a and b (below: bytes) in turn, from the lower or upper half of every 128 bits.
  [[gnu::always_inline]] static U low_words(U a, U b) { return (U)_mm256_unpacklo_epi16((__m256i)a, (__m256i)b); }
  [[gnu::always_inline]] static U high_words(U a, U b) { return (U)_mm256_unpackhi_epi16((__m256i)a, (__m256i)b); }
  [[gnu::always_inline]] static U low_bytes(U a, U b) { return (U)_mm256_unpacklo_epi8((__m256i)a, (__m256i)b); }
  [[gnu::always_inline]] static U high_bytes(U a, U b) { return (U)_mm256_unpackhi_epi8((__m256i)a, (__m256i)b); }
  // As sum_pairs<2>, with one shuffle instead of two.
  [[gnu::always_inline]] static I sum_halves(I a, I b) {
    const __m256i crossed = _mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x21);
    return (I)_mm256_blend_epi32((__m256i)a, (__m256i)b, 0xf0) + (I)crossed;
  }
  // One after the other: reassociated by the compiler, the products of a whole step would wait for each other in memory.
  [[gnu::always_inline]] static I add32(I a, I b) {
    I sum = (I)_mm256_add_epi32((__m256i)a, (__m256i)b);
    __asm__("" : "+x"(sum));
    return sum;
  }
  // Bytes of w (unsigned) times bytes of a (signed), pairs added into 16 bits and to `sum`. One statement, because the compiler would
  // rather begin many products before it adds the first, and pass sums through memory for want of registers.
  [[gnu::always_inline]] static void dot_bytes(U& sum, U w, const U& a) {
    U product;
    __asm__("vpmaddubsw %[a], %[w], %[product]\n\tvpaddw %[product], %[sum], %[sum]"
            : [sum] "+x"(sum), [product] "=&x"(product)
            : [w] "x"(w), [a] "m"(a));
  }
  // Two rows. Products first, then additions: they share the four pipes better so.
  [[gnu::always_inline]] static void dot_bytes(U& sum0, U& sum1, U w, const U* a) {
    U product0, product1;
    __asm__(
        "vpmaddubsw %[a0], %[w], %[product0]\n\tvpmaddubsw %[a1], %[w], %[product1]\n\t"
        "vpaddw %[product0], %[sum0], %[sum0]\n\tvpaddw %[product1], %[sum1], %[sum1]"
        : [sum0] "+x"(sum0), [sum1] "+x"(sum1), [product0] "=&x"(product0), [product1] "=&x"(product1)
        : [w] "x"(w), [a0] "m"(a[0]), [a1] "m"(a[1]));
  }
  // The same for two vectors of columns and four bytes of a, repeated.
  [[gnu::always_inline]] static void dot_bytes(U (&sum)[2], const U (&w)[2], const std::uint32_t& a) {
    U repeated, product;
    __asm__(
        "vpbroadcastd %[a], %[repeated]\n\t"
        "vpmaddubsw %[repeated], %[w0], %[product]\n\tvpmaddubsw %[repeated], %[w1], %[repeated]\n\t"
        "vpaddw %[product], %[sum0], %[sum0]\n\tvpaddw %[repeated], %[sum1], %[sum1]"
        : [sum0] "+x"(sum[0]), [sum1] "+x"(sum[1]), [repeated] "=&x"(repeated), [product] "=&x"(product)
        : [w0] "x"(w[0]), [w1] "x"(w[1]), [a] "m"(a));
  }
  // The caller may have told its thread to take subnormal numbers for zero, or to trap them. Returns what to restore.
  [[gnu::always_inline]] static std::uint32_t keep_subnormals() {
    constexpr std::uint32_t kZeroInputs = 0x40, kZeroResults = 0x8000, kMasks = 0x1f80;
    const std::uint32_t was = _mm_getcsr();
    _mm_setcsr((was | kMasks) & ~(kZeroInputs | kZeroResults));
    return was;
  }
  [[gnu::always_inline]] static void restore_mode(std::uint32_t mode) { _mm_setcsr(mode); }
  [[gnu::always_inline]] static F from_f16(H h) { return (F)_mm256_cvtph_ps((__m128i)h); }
  [[gnu::always_inline]] static H to_f16(F f) { return (H)_mm256_cvtps_ph((__m256)f, _MM_FROUND_TO_NEAREST_INT); }
};

template <class Base, int kRows = 6>
struct Tuned : Base {
  static constexpr int kStreamRows = Base::kJoinsHalves ? 8 : 6;
  static constexpr int kTileRows = kRows;  // 12 sums, 2 column vectors, 1 activation: 15 of 16 registers
  static constexpr int kTileVectors = 2;
  static constexpr int kRowBlock = 192;  // L2: 512 KB; decoding costs a hundredth of multiplying
  static constexpr int kPanelSteps = cpu::kChunkSteps;
  static constexpr bool kPanelOfCodes = false, kTilesWideCodes = true;
  template <class C>
  static constexpr int stream_columns(int rows) {
    if (Base::kJoinsHalves) return rows == 1 ? 8 : rows == 2 ? 4 : rows <= 4 ? 2 : 1;
    const int sums = 8 / C::kHalves;  // eight sums; masks and activations are memory operands
    return rows == 1 ? sums : rows == 2 ? (C::kHalves == 2 ? 3 : 4) : C::kHalves == 2 ? 1 : 2;
  }
  // Loaded once, into a register, although the compiler would rather make every use a memory operand: loads are what runs out.
  [[gnu::always_inline]] static void once(Avx2::U& value) { __asm__("" : "+x"(value)); }
  // The other way round: read again rather than kept, which would spill sums.
  [[gnu::always_inline]] static void forget(const std::uint32_t*& words) { __asm__("" : "+r"(words)); }
  [[gnu::always_inline]] static Avx2::F fma(Avx2::F a, Avx2::F b, Avx2::F c) { return Avx2::multiply_add(a, b, c); }
};

using Full = Tuned<Float32<Avx2, false>>;
using Rounded = Tuned<Float32<Avx2, true>>;
using FullSums = Tuned<Float32Sums<Avx2, false>>;
using RoundedSums = Tuned<Float32Sums<Avx2, true>>;
using FullSubnormals = Tuned<Float32Subnormals<Avx2, false>>;
using RoundedSubnormals = Tuned<Float32Subnormals<Avx2, true>>;
using Int8 = Tuned<Int8Pairs<Avx2>>;
using Int8Tile = Tuned<Int8QuadPartials<Avx2>>;
using Int8Wide = Tuned<Int16Pairs<Avx2>>;

}  // namespace

constinit const Arithmetic kAvx2Arithmetic[6] = {
    {stream_kernels<Avx2, FullSums, FullSums>("f32, zeros after the sum"), tile_kernels<Avx2, Full, Full>("f32"), 16},
    {stream_kernels<Avx2, FullSums, RoundedSums>("f32 of bf16, zeros after the sum"), tile_kernels<Avx2, Full, Rounded>("f32 of bf16"), 16},
    {stream_kernels<Avx2, Int8, Int8>("int8 pairs"), tile_kernels<Avx2, Int8Tile, Int8Tile>("int8 pairs"), 16},
    {stream_kernels<Avx2, Int8Wide, Int8Wide>("int16 pairs"), tile_kernels<Avx2, Int8Wide, Int8Wide>("int16 pairs"), 8},
    {stream_kernels<Avx2, FullSubnormals, FullSubnormals>("f32, codes as subnormals"), tile_kernels<Avx2, Full, Full>("f32"), 16},
    {stream_kernels<Avx2, FullSubnormals, RoundedSubnormals>("f32 of bf16, codes as subnormals"),
     tile_kernels<Avx2, Full, Rounded>("f32 of bf16"), 16},
};

}  // namespace billfish::cpu

#else

namespace billfish::cpu {
constinit const Arithmetic kAvx2Arithmetic[6] = {};  // not an x86 machine: facts() never offers it
}  // namespace billfish::cpu

#endif
