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

constexpr int kChunkRows = kChunkSteps * kStepRows;
constexpr int kMostTileRows = 12;

// Packed rows of steps [begin, end) of one row of A, as f32; zeros beyond k.
template <class Isa>
[[gnu::always_inline]] inline void load_steps(const PackArgs& args, int row, std::int64_t begin, std::int64_t end, float* values) {
  using F = typename Isa::F;
  using U = typename Isa::U;
  using H = typename Lanes<Isa::kLanes>::H;
  const std::int64_t k0 = begin * kStepRows;
  const int count = static_cast<int>((end - begin) * kStepRows);
  const std::int64_t base = row * args.lda;
  const bool whole = k0 + count <= args.k && args.perm == nullptr;
  const auto place = [&](int i) { return base + (args.perm != nullptr ? args.perm[k0 + i] : k0 + i); };
  const int inside = static_cast<int>(args.k - k0 < count ? args.k - k0 : count);
  if (args.a_type == ElementType::f32) {
    const float* a = static_cast<const float*>(args.a);
    if (whole) {
      std::memcpy(values, a + base + k0, static_cast<std::size_t>(count) * sizeof(float));
    } else {
      for (int i = 0; i < count; ++i) values[i] = i < inside ? a[place(i)] : 0.0f;
    }
    return;
  }
  const std::uint16_t* a = static_cast<const std::uint16_t*>(args.a);
  alignas(64) std::uint16_t gathered[kChunkRows];
  const std::uint16_t* from = a + base + k0;
  if (!whole) {
    for (int i = 0; i < count; ++i) gathered[i] = i < inside ? a[place(i)] : std::uint16_t{0};
    from = gathered;
  }
  if (args.a_type == ElementType::f16) {
    for (int i = 0; i < count; i += Isa::kLanes) store(values + i, Isa::from_f16(load<H>(from + i)));
  } else {
    for (int i = 0; i < count; i += Isa::kLanes) store(values + i, (F)(__builtin_convertvector(load<H>(from + i), U) << 16));
  }
}

// The row's next chunk: the other rows come first, so nothing else asks for it in time.
[[gnu::always_inline]] inline void prefetch_steps(const PackArgs& args, int row, std::int64_t begin, std::int64_t end) {
  if (args.perm != nullptr || end * kStepRows > args.k) return;
  const std::int64_t element = args.a_type == ElementType::f32 ? 4 : 2;
  const char* a = static_cast<const char*>(args.a) + row * args.lda * element;
  for (std::int64_t byte = begin * kStepRows * element; byte < end * kStepRows * element; byte += 64) __builtin_prefetch(a + byte, 0, 3);
}

[[gnu::always_inline]] inline void flag_unusual(const PackArgs& args, int row) {
  __atomic_store_n(args.unusual + row, 1, __ATOMIC_RELAXED);
}

struct Quantized {
  float scale = 1, inverse = 1;
};

// By halves and never through memory: all that follows waits for it.
template <class I>
[[gnu::always_inline]] inline std::int32_t largest_lane(I v) {
  const auto larger = [](auto a, auto b) __attribute__((always_inline)) { return a > b ? a : b; };
  if constexpr (sizeof(I) == 64) {
    return largest_lane(
        larger(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7), __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15)));
  } else {
    v = larger(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
    v = larger(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
    return larger(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6))[0];
  }
}

// One scale for a row and group: the largest magnitude becomes 127. Infinities and NaN are flagged and enter as zeros. Leaves the last
// chunk in `values`.
template <class Isa>
[[gnu::always_inline]] inline Quantized quantize_group(const PackArgs& args, int row, std::int64_t begin, std::int64_t end, int chunk_steps,
                                                       float* values) {
  using I = typename Isa::I;
  I largest{};
  for (std::int64_t at = begin; at < end; at += chunk_steps) {
    const std::int64_t stop = at + chunk_steps < end ? at + chunk_steps : end;
    load_steps<Isa>(args, row, at, stop, values);
    for (int i = 0; i < (stop - at) * kStepRows; i += Isa::kLanes) {
      // As signed integers: the order of magnitudes, infinity and NaN on top.
      const I magnitude = load<I>(values + i) & 0x7fffffff;
      largest = magnitude > largest ? magnitude : largest;
    }
  }
  const std::int32_t bits = largest_lane(largest);
  if (bits >= 0x7f800000) {
    flag_unusual(args, row);
    return {0.0f, 0.0f};
  }
  float peak;
  std::memcpy(&peak, &bits, 4);
  if (peak < 0x1p-118f) return {0.0f, 0.0f};  // 127 / peak would overflow; the row loses less than 2^-118 an activation
  return {peak / 127.0f, 127.0f / peak};
}

// Lanes are set where activations are outside of 2^low <= |a| < 2^high, zero apart: what arithmetic that scales activations by powers of
// two must not be given.
template <int kLow, int kHigh, class F>
[[gnu::always_inline]] inline auto unusual(F a) {
  using U = typename Lanes<static_cast<int>(sizeof(F) / 4)>::U;
  const U magnitude = (U)a & 0x7fffffffu;
  return (U)(magnitude >= std::uint32_t{127 + kHigh} << 23) | ((U)(magnitude < std::uint32_t{127 + kLow} << 23) & (U)(magnitude != 0u));
}

// Activations as integers: to nearest even, as adding 1.5 * 2^23 leaves them in the low bits (|a * inverse| < 2^22).
template <class F>
[[gnu::always_inline]] inline auto round_to_int(F a, float inverse) {
  using I = typename Lanes<static_cast<int>(sizeof(F) / 4)>::I;
  return (I)(a * inverse + 12582912.0f) - 0x4b400000;
}

// Where a chunk lies: its number, its steps, those of its group, and of its panel (tiles) or all (streams).
struct ChunkPlace {
  std::int64_t number, begin, end, group_begin, group_end, panel_begin, panel_end;
};

// One row of one chunk. `q` and `found` are the row's: they last for the chunks of a group, and for all. `values`: of one chunk, in which
// quantize_group left a group that has no other.
// kRepeat: 0 for tiles, 1 for streams by columns (as tiles, one panel), else the words of a k pair: 4 or 8.
template <class Arith, class Isa, int kRepeat>
[[gnu::always_inline]] inline void pack_chunk(const PackArgs& args, int row, const ChunkPlace& at, const Quantized& q, Lanes<8>::U& found,
                                              float* values) {
  using F = Lanes<8>::F;
  using I = Lanes<8>::I;
  constexpr int kDwords = Arith::kSlots * Arith::kParts * 4;
  constexpr int kVector = Arith::kLanes;
  constexpr int kPairs = kRepeat <= 1 ? 1 : kVector / (kRepeat <= 1 ? 1 : kRepeat);  // k pairs a vector
  const std::int64_t rows = args.rows;
  const bool loaded = Arith::kQuantizes && at.begin == at.group_begin && at.end == at.group_end;
  if (!loaded) load_steps<Isa>(args, row, at.begin, at.end, values);
  prefetch_steps(args, row, at.end, 2 * at.end - at.begin);
  if (Arith::kQuantizes && q.inverse == 0.0f) std::memset(values, 0, kChunkRows * sizeof(float));  // infinities, too
  std::uint32_t* out = args.out;
  if constexpr (kRepeat <= 1) {
    const std::int64_t panel_steps = at.panel_end - at.panel_begin;
    out += (at.panel_begin * args.all_rows + args.first_row * panel_steps + (at.begin - at.panel_begin) * rows) * kDwords + row;
  } else {
    out += (args.first_row * args.steps + at.begin * rows) * kDwords * kRepeat + row * kVector;
  }
  if constexpr (kRepeat <= 1) {
    // The lines of the next chunk, which all rows write: each row asks for its share, to own them: other threads read them in the last call
    // (on two chiplets of a Zen 5 packing takes 28 instead of 51 us at M = 32, 4096 x 4096, int8).
    const std::int64_t words = (at.end - at.begin) * rows * kDwords, each = words / rows;
    const std::uint32_t* next = out - row + words + row * each;
    for (std::int64_t word = 0; word < each; word += 16) __builtin_prefetch(next + word, 1, 3);
  }
  alignas(32) float sums[8] = {};
  I lanes{}, partial{};  // sums of the quantised activations of k mod 8: of the chunk, and since a partial sum began
  for (std::int64_t step = at.begin; step < at.end; ++step, out += rows * kDwords * (kRepeat > 1 ? kRepeat : 1)) {
    const auto low = load<F>(values + (step - at.begin) * kStepRows), high = load<F>(values + (step - at.begin) * kStepRows + 8);
    alignas(64) std::uint32_t dwords[kDwords];
    if constexpr (Arith::kQuantizes) {
      const I low_int = round_to_int(low, q.inverse), high_int = round_to_int(high, q.inverse);
      Arith::pack((Lanes<8>::U)low_int, (Lanes<8>::U)high_int, dwords);
      lanes += low_int + high_int;
      if constexpr (Arith::kPartialSteps > 0) {
        partial += low_int + high_int;
        if ((step + 1 - at.begin) % Arith::kPartialSteps == 0 || step + 1 == at.end) {
          const std::int64_t number = at.number * kChunkPartials + (step - at.begin) / Arith::kPartialSteps;
          Arith::store_begin(partial, args.begins + (number * args.row_stride + row) * Arith::kBeginWords);
          partial = I{};
        }
      }
    } else {
      Arith::template pack<kRepeat>(low, high, dwords);
    }
    if constexpr (Arith::kScreens)
      found |= unusual<Arith::kScreenLow, Arith::kScreenHigh>(low) | unusual<Arith::kScreenLow, Arith::kScreenHigh>(high);
    if constexpr (Arith::kZeroAfterSum && !Arith::kQuantizes) Arith::template add_to_sums<kRepeat>(dwords, sums);
    if constexpr (kRepeat <= 1) {
#pragma GCC unroll 32
      for (int i = 0; i < kDwords / Arith::kParts; ++i) {
        for (int part = 0; part < Arith::kParts; ++part) {
          out[(i * Arith::kParts + part) * rows] = dwords[(i / 4 * Arith::kParts + part) * 4 + i % 4];
        }
      }
    } else {
      for (int pv = 0; pv < 4 / kPairs; ++pv) {
        for (int sp = 0; sp < Arith::kSlots * Arith::kParts; ++sp) {
          std::uint32_t* to = out + (pv * Arith::kSlots * Arith::kParts + sp) * rows * kVector;
#pragma GCC unroll 4
          for (int pair = 0; pair < kPairs; ++pair) {
            using Repeated = typename Lanes<kRepeat>::U;
            store(to + pair * kRepeat, splat<Repeated>(dwords[sp * 4 + pv * kPairs + pair]));
          }
        }
      }
    }
  }
  if constexpr (Arith::kQuantizes) {
    args.row_scales[at.number * args.row_stride + row] = q.scale;
    store(sums, __builtin_convertvector(lanes, F));  // integers below 2^24
  }
  if constexpr (Arith::kZeroAfterSum) {
    const float total = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
    args.row_sums[at.number * args.row_stride + row] = total;
    if constexpr (Arith::kBeginWords > 0 && Arith::kPartialSteps == 0)
      args.begins[at.number * kChunkPartials * args.row_stride + row] =
          static_cast<std::uint32_t>(-args.implicit_zero * static_cast<int>(total));
  }
}

// Chunk by chunk and not row by row: the rows of a tile share every line that is written, which is in L1 for the rows after the first.
template <class Arith, class Isa, int kRepeat>
void pack_rows(const PackArgs& args) {
  static_assert(Arith::kStreamRows <= kMostTileRows && Arith::kTileRows <= kMostTileRows);
  Quantized q[kMostTileRows];
  Lanes<8>::U found[kMostTileRows] = {};
  alignas(64) float values[Arith::kQuantizes ? kMostTileRows : 1][kChunkRows];
  ChunkPlace at{0, 0, 0, 0, 0, 0, kRepeat == 0 ? 0 : args.steps};
  for (; at.begin < args.step_end; at.begin = at.end, ++at.number) {
    if (at.begin == at.group_end) {
      at.group_begin = at.begin;
      at.group_end = at.begin + args.group_steps < args.steps ? at.begin + args.group_steps : args.steps;
    }
    at.end = at.begin + Arith::kChunkSteps < at.group_end ? at.begin + Arith::kChunkSteps : at.group_end;
    if (at.begin == at.panel_end) {
      at.panel_begin = at.begin;
      at.panel_end = end_of_panel<Arith>(at.begin, args.steps, args.group_steps);
    }
    if (at.begin < args.step_begin) continue;
    if constexpr (Arith::kQuantizes) {
      // Of all rows first: their maxima are waited for together.
      for (int row = 0; row < args.rows && at.begin == at.group_begin; ++row)
        q[row] = quantize_group<Isa>(args, row, at.begin, at.group_end, Arith::kChunkSteps, values[row]);
    }
    for (int row = 0; row < args.rows; ++row)
      pack_chunk<Arith, Isa, kRepeat>(args, row, at, q[row], found[row], values[Arith::kQuantizes ? row : 0]);
  }
  if constexpr (Arith::kScreens) {
    for (int row = 0; row < args.rows; ++row) {
      for (int i = 0; i < 8; ++i) {
        if (found[row][i] != 0) flag_unusual(args, row);
      }
    }
  }
}

}  // namespace
}  // namespace billfish::cpu
