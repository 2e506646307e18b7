// SPDX-License-Identifier: Apache-2.0
// C = A x dequant(W) with mma.sync, for sm_80 and later. One kernel for every weight type, group size and M. Instantiated by
// mma_<type>.cu, launched by mma_launch.cu; docs/kernels/sm80-mma.md has the story.
//
// Operands are swapped: the weights, transposed, are the A operand (16 columns x 16 k), the activations the B operand (16 k x 8 tokens),
// because a lane's Marlin words decode into exactly its A registers (decode.cuh). So weights go from global memory straight into the
// registers of the one warp that needs them, kAhead steps before it does, and never through shared memory; activations go through
// shared memory in large chunks (mma_activations.cuh). The main loop has a barrier a chunk, not a stage.
//
//   block tile: tile_n columns x tile_m tokens x steps_per_split k16 steps; warps = warps_k x (tile_m / tokens) x (tile_n / 64)
//
//   chunk of K (warps_k * run_steps steps):  | run of k-warp 0 | run of k-warp 1 | ... |   next chunk: | run of k-warp 0 | ...
//   a step of a warp:  4 words a lane -> 4 blocks of 16 columns -> 4 x kTokenTiles mma
//
// Sums: `partial` collects code * activation of one group, exactly scaled integers; at the group's end `total` += scale * partial in f32.
// So a scale never leaves f32 and the weights are exact.
#pragma once

#include <cstdint>

#include "cuda/decode.cuh"
#include "cuda/ptx/async_copy.cuh"
#include "cuda/ptx/dependent_launch.cuh"
#include "cuda/ptx/mma.cuh"
#include "cuda/sm80/mma_activations.cuh"
#include "cuda/sm80/mma_epilogue.cuh"
#include "cuda/sm80/mma_groups.cuh"
#include "cuda/sm80/mma_policy.hpp"

namespace billfish::cuda::mma {

// The weights of one warp, kAhead steps in flight. Runs of the warp are `stride` steps apart.
template <int kWordsPerStep, int kAhead, bool kShared>
class WeightStream {
 public:
  __device__ WeightStream(const MmaArguments& args, int n_tile, int first_step, int end_step, int stride)
      : row_bytes_(args.code_row_bytes),
        next_(static_cast<const unsigned char*>(args.codes) + n_tile * (128 * kWordsPerStep) + threadIdx.x % 32 * (4 * kWordsPerStep) +
              first_step * args.code_row_bytes),
        step_(first_step),
        left_in_run_(args.run_steps),
        run_steps_(args.run_steps),
        skip_(stride - args.run_steps),
        end_(end_step) {}

  // Asks for the warp's next kAhead steps, one slot each. A run is a multiple of kAhead, so they lie in one run.
  template <int kSlot>
  __device__ void fetch(std::uint32_t (&slot)[kWordsPerStep]) {
    ptx::load_weights<kShared>(slot, next_, step_ < end_);
    next_ += row_bytes_;
    ++step_;
    if constexpr (kSlot == kAhead - 1) {
      left_in_run_ -= kAhead;
      if (left_in_run_ == 0) {
        left_in_run_ = run_steps_;
        step_ += skip_;
        next_ += skip_ * row_bytes_;
      }
    }
  }

 private:
  std::int64_t row_bytes_;
  const unsigned char* next_;
  int step_, left_in_run_, run_steps_, skip_, end_;
};

template <WeightType kType, bool kBf16, int kTokenTiles>
struct WarpTile {
  using Functor = Decode<kType, kBf16>;
  static constexpr int kWords = 4 * Functor::kWords;

  float partial[4][kTokenTiles][4];
  float total[4][kTokenTiles][4];

  __device__ void clear_partial() {
#pragma unroll
    for (int block = 0; block < 4; ++block) {
#pragma unroll
      for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) partial[block][tile][i] = 0.0f;
      }
    }
  }
  __device__ void clear() {
    clear_partial();
#pragma unroll
    for (int block = 0; block < 4; ++block) {
#pragma unroll
      for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) total[block][tile][i] = 0.0f;
      }
    }
  }

  __device__ void multiply(const std::uint32_t (&words)[kWords], const Groups<kType, kBf16>& groups,
                           const std::uint32_t (&activations)[kTokenTiles][2]) {
#pragma unroll
    for (int block = 0; block < 4; ++block) {
      std::uint32_t a[4];
      Functor::block(words + block * Functor::kWords, groups.addend(2 * block), groups.addend(2 * block + 1), a);
#pragma unroll
      for (int tile = 0; tile < kTokenTiles; ++tile) {
        ptx::mma_m16n8k16<kBf16>(partial[block][tile], a, activations[tile][0], activations[tile][1]);
      }
    }
  }

  __device__ void fold(const Groups<kType, kBf16>& groups) {
    float s[8];
    groups.scales(s);
#pragma unroll
    for (int block = 0; block < 4; ++block) {
#pragma unroll
      for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) total[block][tile][i] = fmaf(s[2 * block + i / 2], partial[block][tile][i], total[block][tile][i]);
      }
    }
    clear_partial();
  }

  // sums: this warp's corner of [tile_m][row_floats].
  __device__ void store(float* sums, int row_floats) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int block = 0; block < 4; ++block) {
#pragma unroll
      for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int token = 8 * tile + lane % 4 * 2 + i % 2;
          const int column = 16 * block + lane / 4 + i / 2 * 8;
          sums[token * row_floats + column] = total[block][tile][i];
        }
      }
    }
  }
};

// The B operands of one step (two steps if kTokenTiles is 1: step must be even then) from a chunk in shared memory.
template <int kTokenTiles>
__device__ inline void load_activations(std::uint32_t (&r)[kTokenTiles == 1 ? 2 : kTokenTiles][2], std::uint32_t chunk, int row_bytes,
                                        int first_row, int step) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int pair = 0; pair < (kTokenTiles + 1) / 2; ++pair) {
    const int row = first_row + 16 * pair + lane % 8 + (kTokenTiles == 1 ? 0 : lane / 16 * 8);
    const int unit = 2 * (step + (kTokenTiles == 1 ? lane / 16 : 0)) + lane / 8 % 2;
    std::uint32_t four[4];
    ptx::load_matrices(four, chunk + row * row_bytes + unit_offset(row, unit));
#pragma unroll
    for (int i = 0; i < 4; ++i) r[2 * pair + i / 2][i % 2] = four[i];
  }
}

template <WeightType kType, bool kBf16, int kPolicy>
__global__ void __launch_bounds__(kConfigs[kPolicy].max_threads) mma_gemm(const __grid_constant__ MmaArguments args) {
  constexpr int token_tiles = kConfigs[kPolicy].token_tiles;
  constexpr int ahead = steps_ahead(kPolicy, bits_of(kType));
  using Tile = WarpTile<kType, kBf16, token_tiles>;
  extern __shared__ __align__(128) unsigned char shared[];

  // Who am I: tiles_m runs fastest, so that blocks that run together share weights.
  const int tiles_m = (args.m + args.tile_m - 1) / args.tile_m;
  const int first_token = blockIdx.x % tiles_m * args.tile_m;
  const int first_column = blockIdx.x / tiles_m * args.tile_n;
  const int split = blockIdx.y;
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const int warps_n = args.tile_n / 64;
  const int warps_m = args.tile_m / (8 * token_tiles);
  const int warp_n = warp % warps_n;
  const int warp_m = warp / warps_n % warps_m;
  const int warp_k = warp / (warps_n * warps_m);

  const int split_begin = split * args.steps_per_split;
  const int split_end = min(args.steps, split_begin + args.steps_per_split);
  const int chunk_steps = args.warps_k * args.run_steps;
  const int n_tile = first_column / 64 + warp_n;
  const bool active = n_tile * 64 < args.padded_n;  // the last tile may reach beyond the matrix
  const int first_step = split_begin + warp_k * args.run_steps;
  const bool reads = active && first_step < split_end;

  // Weights, zeros and scales do not depend on earlier kernels: ask for them first.
  ptx::allow_dependents();
  WeightStream<Tile::kWords, ahead, (kPolicy == 2)> stream(args, reads ? n_tile : 0, first_step, reads ? split_end : 0, chunk_steps);
  std::uint32_t words[ahead][Tile::kWords] = {};
  [&]<int... kSlots>(std::integer_sequence<int, kSlots...>) { (stream.template fetch<kSlots>(words[kSlots]), ...); }
  (std::make_integer_sequence<int, ahead>());
  Groups<kType, kBf16> groups(args, active ? n_tile : 0);
  if (reads) groups.fetch_first(first_step);
  ptx::wait_for_predecessors();

  const int slot_bytes = args.tile_m * args.row_bytes;
  if (split_begin < split_end) load_chunk(args, shared, first_token, split_begin, min(chunk_steps, split_end - split_begin));
  ptx::async_copy_commit();

  Tile tile;
  tile.clear();
  const std::uint32_t shared_base = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  int slot = 0;
  for (int chunk = split_begin; chunk < split_end; chunk += chunk_steps, slot ^= 1) {
    ptx::async_copy_wait<0>();
    __syncthreads();  // this chunk is in; the other slot is free
    const int next_chunk = chunk + chunk_steps;
    if (next_chunk < split_end) {
      load_chunk(args, shared + (slot ^ 1) * slot_bytes, first_token, next_chunk, min(chunk_steps, split_end - next_chunk));
    }
    ptx::async_copy_commit();

    const int run_begin = chunk + warp_k * args.run_steps;
    const int run_end = min(run_begin + args.run_steps, split_end);
    if (!active || run_begin >= run_end) continue;
    groups.begin_run(run_begin, run_end, run_begin + chunk_steps);
    const std::uint32_t chunk_base = shared_base + slot * slot_bytes;
    for (int step = run_begin; step < run_end; step += ahead) {
      std::uint32_t activations[token_tiles == 1 ? 2 : token_tiles][2];
      [&]<int... kSlots>(std::integer_sequence<int, kSlots...>) {
        (
            [&] {
              const int here = step + kSlots;
              if (here < run_end) {
                if (token_tiles > 1 || kSlots % 2 == 0) {
                  load_activations<token_tiles>(activations, chunk_base, args.row_bytes, warp_m * 8 * token_tiles, here - chunk);
                }
                if constexpr (token_tiles == 1) {
                  const std::uint32_t mine[1][2] = {{activations[kSlots % 2][0], activations[kSlots % 2][1]}};
                  tile.multiply(words[kSlots], groups, mine);
                } else {
                  tile.multiply(words[kSlots], groups, activations);
                }
                if (groups.ends_with(here) || here + 1 == run_end) {
                  tile.fold(groups);
                  if (here + 1 < run_end) groups.advance();
                }
              }
              stream.template fetch<kSlots>(words[kSlots]);
            }(),
            ...);
      }
      (std::make_integer_sequence<int, ahead>());
    }
  }

  // Sums of the k-warps meet in shared memory, where the chunks were.
  __syncthreads();
  float* sums = reinterpret_cast<float*>(shared);
  const int row_floats = static_cast<int>(sums_row_floats(args.tile_n));
  tile.store(sums + (warp_k * args.tile_m + warp_m * 8 * token_tiles) * row_floats + warp_n * 64, row_floats);
  __syncthreads();
  store_tile(args, sums, first_token, first_column, split);
}

}  // namespace billfish::cuda::mma
