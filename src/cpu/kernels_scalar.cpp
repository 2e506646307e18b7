// SPDX-License-Identifier: Apache-2.0
// The kernels for any machine: the same source on compiler vectors, which become what the baseline instruction set has.
#include "core/half.hpp"
#include "cpu/kernels.hpp"
#include "cpu/kernel/float32.hpp"
#include "cpu/kernel/float32_sums.hpp"
#include "cpu/kernel/int16_pairs.hpp"
#include "cpu/kernel/table.hpp"

namespace billfish::cpu {
namespace {

struct Portable {
  static constexpr int kLanes = 8;
  using F = Lanes<8>::F;
  using U = Lanes<8>::U;
  using I = Lanes<8>::I;
  using H = Lanes<8>::H;
  [[gnu::always_inline]] static F multiply_add(F a, F b, F c) { return a * b + c; }
  [[gnu::always_inline]] static I add32(I a, I b) { return a + b; }
  // Exact in f32: |products| < 2^16, sums of two < 2^17.
  [[gnu::always_inline]] static I multiply_pairs(U a, U b) {
    const auto low = [](U v) { return __builtin_convertvector((I)(v << 16) >> 16, F); };
    const auto high = [](U v) { return __builtin_convertvector((I)v >> 16, F); };
    return __builtin_convertvector(low(a) * low(b) + high(a) * high(b), I);
  }
  [[gnu::always_inline]] static U subtract16(U a, U b) { return ((a - b) & 0xffffu) | ((a & 0xffff0000u) - (b & 0xffff0000u)); }
  [[gnu::noinline]] static F from_f16(H h) {
    F f;
    for (int i = 0; i < 8; ++i) f[i] = f16_to_f32(h[i]);
    return f;
  }
  [[gnu::noinline]] static H to_f16(F f) {
    H h;
    for (int i = 0; i < 8; ++i) h[i] = f32_to_f16(f[i]);
    return h;
  }
};

template <class Base>
struct Tuned : Base {
  static constexpr int kStreamRows = 4;
  static constexpr int kTileRows = 6;
  static constexpr int kTileVectors = 1;
  static constexpr int kRowBlock = 192;  // L2: 512 KB; decoding costs a hundredth of multiplying
  static constexpr int kPanelSteps = cpu::kChunkSteps;
  static constexpr bool kPanelOfCodes = false, kTilesWideCodes = true;
  template <class C>
  static constexpr int stream_columns(int rows) {
    return C::kBits == 4 ? 1 : (rows == 1 ? 2 : 1);
  }
  [[gnu::always_inline]] static void once(Portable::U&) {}
  [[gnu::always_inline]] static void forget(const std::uint32_t*&) {}
  [[gnu::always_inline]] static Portable::F fma(Portable::F a, Portable::F b, Portable::F c) { return Portable::multiply_add(a, b, c); }
};

using Full = Tuned<Float32<Portable, false>>;
using Rounded = Tuned<Float32<Portable, true>>;
using FullSums = Tuned<Float32Sums<Portable, false>>;
using RoundedSums = Tuned<Float32Sums<Portable, true>>;
using Int8 = Tuned<Int16Pairs<Portable>>;

}  // namespace

constinit const Arithmetic kScalarArithmetic[4] = {
    {stream_kernels<Portable, FullSums, FullSums>("f32, zeros after the sum"), tile_kernels<Portable, Full, Full>("f32"), 8},
    {stream_kernels<Portable, FullSums, RoundedSums>("f32 of bf16, zeros after the sum"),
     tile_kernels<Portable, Full, Rounded>("f32 of bf16"), 8},
    {stream_kernels<Portable, Int8, Int8>("int16 pairs"), tile_kernels<Portable, Int8, Int8>("int16 pairs"), 8},
    {stream_kernels<Portable, Int8, Int8>("int16 pairs"), tile_kernels<Portable, Int8, Int8>("int16 pairs"), 8},
};

}  // namespace billfish::cpu
