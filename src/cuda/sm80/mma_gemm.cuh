// SPDX-License-Identifier: Apache-2.0
// C = A x dequant(W) with mma.sync, for sm_80 and later. One kernel for every weight type, group size and M. Instantiated by
// mma_<type>.cu, launched by mma_launch.cu; docs/kernels/sm80-mma.md has the story.
//
// Operands are swapped: the weights, transposed, are the A operand (16 columns x 16 k), the activations the B operand (16 k x 8 tokens),
// because a lane's Marlin words decode into exactly its A registers (decode.cuh). So every lane copies the words that it alone will read,
// kAhead steps before it does, into a ring of its own in shared memory: no barrier, no other thread is involved. Activations, which all
// warps read, come in large chunks (mma_activations.cuh), with a barrier a chunk.
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

// The same value, which the compiler cannot make again from threadIdx.x: it prefers that to keeping a register, at 10 instructions a step.
__device__ inline std::uint32_t kept(std::uint32_t value) { return __shfl_sync(~0u, value, threadIdx.x % 32); }

// The weights of one warp: a ring of kAhead steps in shared memory, of which each lane sees its own 16 or 32 bytes of every step. Registers
// would do for a ring too, but a warp has too few scoreboards to wait for the oldest of eight loads alone (measured: one load in flight).
template <int kWords, int kAhead>
class WeightStream {
 public:
  static constexpr int kStepBytes = 128 * kWords;  // of a warp

  // The warp's steps: `count` in all, in runs of run_steps, `stride` apart, from first_step on.
  __device__ WeightStream(const MmaArguments& args, std::uint32_t ring, int n_tile, int first_step, int count, int stride)
      : ring_(kept(ring + threadIdx.x % 32 * 16)),
        source_(static_cast<const unsigned char*>(args.codes) + n_tile * std::int64_t{kStepBytes}),
        lane_bytes_(kept(threadIdx.x % 32 * (4 * kWords))),
        row_bytes_(args.code_row_bytes),
        step_(first_step),
        count_(count),
        left_in_run_(args.run_steps),
        run_steps_(args.run_steps),
        skip_(stride - args.run_steps) {}

  // Asks for the warp's next step, into the slot that was read longest ago. Every call is one group of copies.
  __device__ void fetch() {
    if (--count_ >= 0) {
      const unsigned char* source = source_ + static_cast<std::uint64_t>(row_bytes_) * static_cast<std::uint32_t>(step_) + lane_bytes_;
#pragma unroll
      for (int i = 0; i < kWords / 4; ++i) ptx::async_copy_16(ring_ + write_ + 512 * i, source + 16 * i);
    }
    ptx::async_copy_commit();
    write_ = (write_ + kStepBytes) & (kAhead * kStepBytes - 1);
    ++step_;
    if (--left_in_run_ == 0) {
      left_in_run_ = run_steps_;
      step_ += skip_;
    }
  }

  // This lane's words of the next step, which must have landed.
  __device__ void read(std::uint32_t (&words)[kWords]) {
#pragma unroll
    for (int i = 0; i < kWords; i += 4) ptx::load_shared_16(words + i, ring_ + read_ + 128 * i);
    read_ = (read_ + kStepBytes) & (kAhead * kStepBytes - 1);
  }

 private:
  static_assert((kAhead & (kAhead - 1)) == 0 && (kStepBytes & (kStepBytes - 1)) == 0);
  std::uint32_t ring_, write_ = 0, read_ = 0;
  const unsigned char* source_;  // the warp's, of step 0
  std::uint32_t lane_bytes_;
  std::uint32_t row_bytes_;
  int step_, count_, left_in_run_, run_steps_, skip_;
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
                           const std::uint32_t (*activations)[2]) {
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

// Where a lane's ldmatrix rows are: the unit of step s is 2s + half, at (2s + half) ^ (row % 8), so with `mask` = half ^ row % 8 its
// offset is 32s ^ 16 * mask: one XOR a step.
struct LaneRows {
  std::uint32_t row_offset, mask_bytes, pair_bytes;  // from a chunk's begin; from the first 16 tokens to the next

  template <int kTokenTiles>
  __device__ static LaneRows of(int row_bytes, int first_row) {
    const int lane = threadIdx.x % 32;
    const int row = first_row + lane % 8 + (kTokenTiles == 1 ? 0 : lane / 16 * 8);
    const int unit = lane / 8 % 2 + (kTokenTiles == 1 ? lane / 16 * 2 : 0);
    return {kept(static_cast<std::uint32_t>(row * row_bytes)), kept(static_cast<std::uint32_t>((unit ^ (row & 7)) * 16)),
            static_cast<std::uint32_t>(16 * row_bytes)};
  }
};

// The B operands of two steps, the first even (one token tile), or of one (more) from a chunk in shared memory.
template <int kTokenTiles>
struct Activations {
  std::uint32_t b[kTokenTiles == 1 ? 2 : kTokenTiles][2];

  __device__ void load(std::uint32_t lane_rows, const LaneRows& rows, int step) {
    const std::uint32_t address = lane_rows + ((32 * step) ^ rows.mask_bytes);
#pragma unroll
    for (int pair = 0; pair < (kTokenTiles + 1) / 2; ++pair) {
      std::uint32_t four[4];
      ptx::load_matrices(four, address + pair * rows.pair_bytes);
#pragma unroll
      for (int i = 0; i < 4; ++i) b[2 * pair + i / 2][i % 2] = four[i];
    }
  }
};

// One run of one warp: steps [begin, end) of the chunk that starts at step `chunk`. Operands of step s + 1 are read while s is multiplied.
template <WeightType kType, bool kBf16, int kTokenTiles, int kAhead>
__device__ inline void multiply_run(WarpTile<kType, kBf16, kTokenTiles>& tile, Groups<kType, kBf16>& groups,
                                    WeightStream<WarpTile<kType, kBf16, kTokenTiles>::kWords, kAhead>& stream, std::uint32_t chunk_base,
                                    const LaneRows& rows, int chunk, int begin, int end) {
  constexpr int words = WarpTile<kType, kBf16, kTokenTiles>::kWords;
  std::uint32_t w[2][words];
  const std::uint32_t lane_rows = chunk_base + rows.row_offset;
  Activations<kTokenTiles> a[2];
  const auto load = [&](int step, int buffer) {
    ptx::async_copy_wait<kAhead - 2>();
    stream.read(w[buffer]);
    if (kTokenTiles > 1 || (step - begin) % 2 == 0) a[kTokenTiles > 1 ? buffer : 0].load(lane_rows, rows, step - chunk);
  };
  const auto multiply = [&](int step, int buffer) {
    tile.multiply(w[buffer], groups, kTokenTiles > 1 ? a[buffer].b : a[0].b + buffer);
    stream.fetch();
    if (groups.ends_with(step) || step + 1 == end) {
      tile.fold(groups);
      if (step + 1 < end) groups.advance();
    }
  };
  load(begin, 0);
#pragma unroll 1
  for (int step = begin; step < end; step += 2) {
    if (step + 1 < end) load(step + 1, 1);
    multiply(step, 0);
    if (step + 1 >= end) break;
    if constexpr (kTokenTiles > 1) {
      if (step + 2 < end) load(step + 2, 0);
      multiply(step + 1, 1);
    } else {  // both steps' activations came together: the next two are read when these are done with
      multiply(step + 1, 1);
      if (step + 2 < end) load(step + 2, 0);
    }
  }
}

template <WeightType kType, bool kBf16, int kPolicy>
__global__ void __launch_bounds__(kConfigs[kPolicy].max_threads) mma_gemm(const __grid_constant__ MmaArguments args) {
  constexpr int token_tiles = kConfigs[kPolicy].token_tiles;
  constexpr int ahead = steps_ahead(bits_of(kType));
  using Tile = WarpTile<kType, kBf16, token_tiles>;
  extern __shared__ __align__(128) unsigned char shared[];  // rings of weights, two chunks of activations; at the end the sums

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
  // Its steps: a run of every whole chunk, and what is left for it of the last one.
  const int whole_chunks = max(0, split_end - split_begin) / chunk_steps;
  const int rest = max(0, split_end - split_begin) - whole_chunks * chunk_steps - warp_k * args.run_steps;
  const int steps_of_warp = whole_chunks * args.run_steps + max(0, min(rest, args.run_steps));
  const std::uint32_t shared_base = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const int ring_bytes = blockDim.x / 32 * ring_bytes_per_warp(bits_of(kType));

  // Weights, zeros and scales do not depend on earlier kernels: ask for them first.
  ptx::allow_dependents();
  WeightStream<Tile::kWords, ahead> stream(args, shared_base + warp * ring_bytes_per_warp(bits_of(kType)), active ? n_tile : 0, first_step,
                                           active ? steps_of_warp : 0, chunk_steps);
#pragma unroll
  for (int i = 0; i < ahead; ++i) stream.fetch();
  Groups<kType, kBf16> groups(args, active ? n_tile : 0);
  if (active && steps_of_warp > 0) groups.fetch_first(first_step);
  ptx::wait_for_predecessors();

  const int slot_bytes = args.tile_m * args.row_bytes;
  unsigned char* const chunks = shared + ring_bytes;
  if (split_begin < split_end) load_chunk(args, chunks, first_token, split_begin, min(chunk_steps, split_end - split_begin));
  ptx::async_copy_commit();
  ptx::async_copy_wait<0>();

  Tile tile;
  tile.clear();
  const LaneRows lane_rows = LaneRows::of<token_tiles>(args.row_bytes, warp_m * 8 * token_tiles);
  int slot = 0;
  for (int chunk = split_begin; chunk < split_end; chunk += chunk_steps, slot ^= 1) {
    // A chunk was asked for at least kAhead groups ago: run_steps is no less. Warps without work have made no groups since.
    if (active) {
      ptx::async_copy_wait<ahead - 1>();
    } else {
      ptx::async_copy_wait<0>();
    }
    __syncthreads();  // this chunk is in; the other slot is free
    const int next_chunk = chunk + chunk_steps;
    if (next_chunk < split_end) {  // joins the group of the next step's weights
      load_chunk(args, chunks + (slot ^ 1) * slot_bytes, first_token, next_chunk, min(chunk_steps, split_end - next_chunk));
    }
    const int run_begin = chunk + warp_k * args.run_steps;
    const int run_end = min(run_begin + args.run_steps, split_end);
    if (!active || run_begin >= run_end) {
      ptx::async_copy_commit();
      continue;
    }
    groups.begin_run(run_begin, run_end, run_begin + chunk_steps);
    multiply_run<kType, kBf16, token_tiles, ahead>(tile, groups, stream, shared_base + ring_bytes + slot * slot_bytes, lane_rows, chunk,
                                                   run_begin, run_end);
  }

  // Sums of the k-warps meet in shared memory, where rings and chunks were: every copy has landed and been read.
  ptx::async_copy_wait<0>();
  __syncthreads();
  float* sums = reinterpret_cast<float*>(shared);
  const int row_floats = static_cast<int>(sums_row_floats(args.tile_n));
  tile.store(sums + (warp_k * args.tile_m + warp_m * 8 * token_tiles) * row_floats + warp_n * 64, row_floats);
  __syncthreads();
  store_tile(args, sums, first_token, first_column, split);
}

}  // namespace billfish::cuda::mma
