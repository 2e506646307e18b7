// SPDX-License-Identifier: Apache-2.0
// Panels for registers that hold matrices: in which order a call goes through them, and how they are decoded. Included by the kernels'
// translation units only.
#pragma once

#include "cpu/kernel/decode.hpp"
#include "cpu/kernel/matrix_arithmetic.hpp"
#include "cpu/kernel/panel.hpp"

namespace billfish::cpu {
namespace {

constexpr int kColumnVectors = kBlockColumns / 16;

template <class Arith>
constexpr std::int64_t kStepWords = Arith::kSlots * 4 * 16;  // of one column vector
// [column vector][step][dword of k][16 columns]: 16 of those lines are a matrix, and one more is what the last may reach into.
template <class Arith>
constexpr std::int64_t decoded_vector_words() {
  return Arith::kPanelSteps * kStepWords<Arith> + kMatrixWords;
}
template <class Arith>
constexpr std::int64_t decoded_words() {
  return kColumnVectors * decoded_vector_words<Arith>();
}
template <class Arith>
constexpr std::int64_t matrices_of(std::int64_t steps) {
  return (steps + Arith::kMatrixSteps - 1) / Arith::kMatrixSteps;
}

// Steps [begin, end) of one of the blocks side by side; `beyond`: of the blocks where this thread probably goes on.
struct PanelPlace {
  std::int64_t begin, end;
  int block;
  bool beyond;
};

// All panels of a call: those of the same steps block by block, then the next steps.
template <class Arith>
struct PanelWalk {
  const BlockArgs& args;
  explicit PanelWalk(const BlockArgs& of) : args(of) {}
  std::int64_t end(std::int64_t begin) const { return end_of_panel<Arith>(begin, args.weights.steps, args.weights.group_steps); }
  PanelPlace first() const { return {0, end(0), 0, false}; }
  PanelPlace after(const PanelPlace& place) const {
    if (place.block + 1 < args.blocks) return {place.begin, place.end, place.block + 1, place.beyond};
    if (place.end < args.weights.steps) return {place.end, end(place.end), 0, place.beyond};
    return {0, end(0), 0, true};
  }
  std::int64_t block(const PanelPlace& place) const { return place.beyond ? args.next_block : args.block + place.block; }
};

template <class Arith>
struct MatrixPanel {
  PanelPlace place{};
  int chunks = 0;
  int chunk_steps[Arith::kPanelSteps];
  std::int64_t matrices = 0;  // along k
  std::int64_t first_chunk = 0;
  const std::uint32_t* a = nullptr;        // of the first chunk, all tiles
  std::uint32_t* decoded = nullptr;        // [vector][step]...
  GroupTables tables[Arith::kPanelSteps];  // of the chunks

  // The panel at `at`, which is this one's next in a walk, or the first.
  template <class Isa, class C>
  void decode(const BlockArgs& args, const PanelPlace& at, LargestScales<Isa>& scales) {
    const Weights& w = args.weights;
    const bool down = at.begin != place.begin;
    a = down ? a + args.tiles * matrices * Arith::kParts * kMatrixWords : chunks > 0 ? a : args.a;
    first_chunk += down ? chunks : 0;
    place = at;
    chunks = 0;
    matrices = 0;
    const std::uint32_t* codes = w.codes + at.begin * w.row_words + (args.block + at.block) * C::kBlockWords;
    std::uint32_t* to = decoded;
    for (std::int64_t step = at.begin; step < at.end; step += chunk_steps[chunks++]) {
      const std::int64_t group = step / w.group_steps;
      std::int64_t stop = step + Arith::kChunkSteps;
      if (stop > (group + 1) * w.group_steps) stop = (group + 1) * w.group_steps;
      if (stop > at.end) stop = at.end;
      GroupTables& table = tables[chunks];
      load_group<Isa, C>(w, args.block + at.block, group, table, scales);
      for (int vector = 0; vector < kColumnVectors; ++vector) {
        decode_columns<Arith, C>(codes + vector * 8 * C::kWords, w.row_words, stop - step, table, 2 * vector,
                                 to + vector * decoded_vector_words<Arith>());
      }
      chunk_steps[chunks] = static_cast<int>(stop - step);
      matrices += matrices_of<Arith>(stop - step);
      codes += chunk_steps[chunks] * w.row_words;
      to += chunk_steps[chunks] * kStepWords<Arith>;
    }
  }
};

}  // namespace
}  // namespace billfish::cpu
