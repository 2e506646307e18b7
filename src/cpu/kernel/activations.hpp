// SPDX-License-Identifier: Apache-2.0
// Rows of A into the order in which a kernel reads them: converted, gathered by perm, padded with zeros to whole steps, quantised for
// int8. Included by the kernels' translation units only.
//
//   tile:   [panel][tile][step][slot][p][part][row]                dwords; the kernel broadcasts each
//   stream: [tile][step][vector of k pairs][slot][part][row][V]    dwords repeated W times, so that the kernel loads whole vectors
//   stream by columns: [tile][step][slot][p][part][row]            as a tile of one panel
#pragma once

#include "cpu/kernel/codec.hpp"
#include "cpu/kernel/vector.hpp"
#include "cpu/kernels.hpp"

namespace billfish::cpu {
namespace {

// 16 activations of one row, in k order.
struct Step {
  Lanes<8>::F low, high;
};

// From packed row k0 on, as f32; zeros beyond k.
template <class Isa>
[[gnu::always_inline]] inline Step load_step(const PackArgs& args, int row, std::int64_t k0) {
  using F = Lanes<8>::F;
  using H = Lanes<8>::H;
  const std::int64_t base = row * args.lda;
  const bool whole = k0 + kStepRows <= args.k && args.perm == nullptr;
  if (args.a_type == ElementType::f32) {
    const float* a = static_cast<const float*>(args.a) + base;
    if (whole) return {load<F>(a + k0), load<F>(a + k0 + 8)};
    alignas(32) float gathered[kStepRows];
    for (int i = 0; i < kStepRows; ++i) {
      const std::int64_t k = k0 + i;
      gathered[i] = k < args.k ? a[args.perm != nullptr ? args.perm[k] : k] : 0.0f;
    }
    return {load<F>(gathered), load<F>(gathered + 8)};
  }
  const std::uint16_t* a = static_cast<const std::uint16_t*>(args.a) + base;
  alignas(32) std::uint16_t gathered[kStepRows];
  const std::uint16_t* from = a + k0;
  if (!whole) {
    for (int i = 0; i < kStepRows; ++i) {
      const std::int64_t k = k0 + i;
      gathered[i] = k < args.k ? a[args.perm != nullptr ? args.perm[k] : k] : std::uint16_t{0};
    }
    from = gathered;
  }
  const H low = load<H>(from), high = load<H>(from + 8);
  if (args.a_type == ElementType::f16) return {Isa::from_f16(low), Isa::from_f16(high)};
  using U = Lanes<8>::U;
  return {(F)(__builtin_convertvector(low, U) << 16), (F)(__builtin_convertvector(high, U) << 16)};
}

struct Quantized {
  float scale = 1, inverse = 1;
};

// One scale for a row and group: the largest magnitude becomes 127. Infinities and NaN are flagged and enter as zeros.
template <class Isa>
[[gnu::always_inline]] inline Quantized quantize_group(const PackArgs& args, int row, std::int64_t begin, std::int64_t end) {
  using I = Lanes<8>::I;
  I largest{};
  for (std::int64_t step = begin; step < end; ++step) {
    const Step a = load_step<Isa>(args, row, step * kStepRows);
    for (const Lanes<8>::F part : {a.low, a.high}) {
      // As signed integers: the order of magnitudes, infinity and NaN on top.
      const I magnitude = (I)part & 0x7fffffff;
      largest = magnitude > largest ? magnitude : largest;
    }
  }
  std::int32_t bits = 0;
  for (int i = 0; i < 8; ++i) bits = largest[i] > bits ? largest[i] : bits;
  if (bits >= 0x7f800000) {
    args.unusual[row] = 1;
    return {0.0f, 0.0f};
  }
  float peak;
  std::memcpy(&peak, &bits, 4);
  if (peak < 0x1p-118f) return {0.0f, 0.0f};  // 127 / peak would overflow; the row loses less than 2^-118 an activation
  return {peak / 127.0f, 127.0f / peak};
}

// Lanes are set where activations are outside of 2^low <= |a| < 2^high, zero apart: what arithmetic that scales activations by powers of
// two must not be given.
template <int kLow, int kHigh>
[[gnu::always_inline]] inline Lanes<8>::U unusual(Lanes<8>::F a) {
  using U = Lanes<8>::U;
  const U magnitude = (U)a & 0x7fffffffu;
  return (U)(magnitude >= std::uint32_t{127 + kHigh} << 23) | ((U)(magnitude < std::uint32_t{127 + kLow} << 23) & (U)(magnitude != 0u));
}

// Eight activations as integers: to nearest even, as adding 1.5 * 2^23 leaves them in the low bits (|a * inverse| < 2^22).
[[gnu::always_inline]] inline Lanes<8>::I round_to_int(Lanes<8>::F a, float inverse) {
  return (Lanes<8>::I)(a * inverse + 12582912.0f) - 0x4b400000;
}

// kRepeat: 0 for tiles, 1 for streams by columns (as tiles, one panel), else the words of a k pair: 4 or 8.
template <class Arith, class Isa, int kRepeat>
void pack_rows(const PackArgs& args) {
  using I = Lanes<8>::I;
  constexpr int kDwords = Arith::kSlots * Arith::kParts * 4;
  constexpr int kVector = Arith::kLanes;
  constexpr bool kSums = Arith::kQuantizes || Arith::kZeroAfterSum;                  // something is kept for every chunk
  constexpr int kPairs = kRepeat <= 1 ? 1 : kVector / (kRepeat <= 1 ? 1 : kRepeat);  // k pairs a vector
  for (int row = args.row_begin; row < args.row_end; ++row) {
    std::int64_t panel_begin = 0, panel_end = 0;
    std::int64_t chunk = -1, chunk_begin = 0, chunk_end = 0, group_end = 0;
    Quantized q;
    alignas(32) float sums[8] = {};
    I lanes{}, partial{};  // sums of the quantised activations of k mod 8: of a chunk, and since a partial sum began
    Lanes<8>::U found{};
    for (std::int64_t step = 0; step < args.steps; ++step) {
      if constexpr (Arith::kQuantizes) {
        if (step == group_end) {
          group_end = step + args.group_steps < args.steps ? step + args.group_steps : args.steps;
          q = quantize_group<Isa>(args, row, step, group_end);
        }
      }
      if constexpr (kSums) {
        if (step == chunk_end) {
          if (step == group_end) group_end = step + args.group_steps < args.steps ? step + args.group_steps : args.steps;
          chunk_begin = step;
          chunk_end = step + Arith::kChunkSteps < group_end ? step + Arith::kChunkSteps : group_end;
          ++chunk;
          if constexpr (Arith::kQuantizes) args.row_scales[chunk * args.row_stride + row] = q.scale;
          for (float& s : sums) s = 0;
          lanes = I{};
        }
      }
      Step a = load_step<Isa>(args, row, step * kStepRows);
      alignas(64) std::uint32_t dwords[kDwords];
      if constexpr (Arith::kQuantizes) {
        if (q.inverse == 0.0f) a = Step{};  // infinities, too
        const I low = round_to_int(a.low, q.inverse), high = round_to_int(a.high, q.inverse);
        Arith::pack((Lanes<8>::U)low, (Lanes<8>::U)high, dwords);
        lanes += low + high;
        if constexpr (Arith::kBeginWords > 0 && Arith::kPartialSteps == 0) {
          if (step + 1 == chunk_end) {
            int total = 0;
            for (int i = 0; i < 8; ++i) total += lanes[i];
            args.begins[chunk * kChunkPartials * args.row_stride + row] = static_cast<std::uint32_t>(-args.implicit_zero * total);
          }
        } else if constexpr (Arith::kBeginWords > 0) {
          partial += low + high;
          if ((step + 1 - chunk_begin) % Arith::kPartialSteps == 0 || step + 1 == chunk_end) {
            const std::int64_t at = chunk * kChunkPartials + (step - chunk_begin) / Arith::kPartialSteps;
            Arith::store_begin(partial, args.begins + (at * args.row_stride + row) * Arith::kBeginWords);
            partial = I{};
          }
        }
      } else {
        Arith::template pack<kRepeat>(a.low, a.high, dwords);
      }
      if constexpr (Arith::kScreens) {
        found |= unusual<Arith::kScreenLow, Arith::kScreenHigh>(a.low) | unusual<Arith::kScreenLow, Arith::kScreenHigh>(a.high);
      }
      if constexpr (Arith::kZeroAfterSum && !Arith::kQuantizes) {
        Arith::template add_to_sums<kRepeat>(dwords, sums);
      }
      if constexpr (Arith::kZeroAfterSum) {
        if (step + 1 == chunk_end) {
          if constexpr (Arith::kQuantizes) store(sums, __builtin_convertvector(lanes, Lanes<8>::F));
          const float total = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
          args.row_sums[chunk * args.row_stride + row] = total;
        }
      }
      if constexpr (kRepeat <= 1) {
        if (step == panel_end) {
          panel_begin = step;
          panel_end = kRepeat == 1 ? args.steps : end_of_panel<Arith>(step, args.steps, args.group_steps);
        }
        const std::int64_t row_steps =
            panel_begin * args.all_rows + args.first_row * (panel_end - panel_begin) + (step - panel_begin) * args.rows;
        std::uint32_t* out = args.out + row_steps * kDwords + row;
#pragma GCC unroll 32
        for (int i = 0; i < kDwords / Arith::kParts; ++i) {
          for (int part = 0; part < Arith::kParts; ++part) {
            out[(i * Arith::kParts + part) * args.rows] = dwords[(i / 4 * Arith::kParts + part) * 4 + i % 4];
          }
        }
      } else {
        std::uint32_t* out = args.out + (args.first_row * args.steps + step * args.rows) * kDwords * kRepeat + row * kVector;
        for (int pv = 0; pv < 4 / kPairs; ++pv) {
          for (int sp = 0; sp < Arith::kSlots * Arith::kParts; ++sp) {
            std::uint32_t* to = out + (pv * Arith::kSlots * Arith::kParts + sp) * args.rows * kVector;
#pragma GCC unroll 4
            for (int pair = 0; pair < kPairs; ++pair) {
              using Repeated = typename Lanes<kRepeat>::U;
              store(to + pair * kRepeat, splat<Repeated>(dwords[sp * 4 + pv * kPairs + pair]));
            }
          }
        }
      }
    }
    if constexpr (Arith::kScreens) {
      for (int i = 0; i < 8; ++i) args.unusual[row] |= found[i] != 0 ? 1 : 0;
    }
  }
}

}  // namespace
}  // namespace billfish::cpu
