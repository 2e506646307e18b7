// SPDX-License-Identifier: Apache-2.0
// Activations into shared memory, a chunk of K at a time: rows are tokens, 16-byte units of K, unit u of row r at u ^ (r % 8) so that the
// eight rows of an ldmatrix fall into distinct banks.
//
//   row r:  | u ^ r%8 = 0 | 1 | ... | row_bytes / 16 - 1 |        unit = 8 consecutive k of one token
//
// Rows beyond m are left as they are: they only reach columns of the accumulators that nobody stores. K beyond k is zeros.
// Called by mma_gemm.cuh.
#pragma once

#include <cstdint>

#include "cuda/ptx/async_copy.cuh"
#include "cuda/sm80/mma_policy.hpp"

namespace billfish::cuda::mma {

__device__ inline int unit_offset(int row, int unit) { return (unit ^ (row & 7)) * 16; }

// One unit, element by element: gathered by perm, or from an A that 16-byte loads cannot read.
__device__ inline uint4 gather_unit(const MmaArguments& args, const std::uint16_t* row, int k) {
  std::uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    pairs[i] = 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int kk = k + 2 * i + half;
      if (kk < args.k) pairs[i] |= static_cast<std::uint32_t>(row[args.perm != nullptr ? args.perm[kk] : kk]) << (16 * half);
    }
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// Steps [first_step, first_step + steps) of the block's tokens -> `target`. Asynchronous where 16-byte copies are possible.
__device__ inline void load_chunk(const MmaArguments& args, unsigned char* target, int first_token, int first_step, int steps) {
  const int rows = min(args.tile_m, args.m - first_token);
  const int units = 2 * steps;
  const bool direct = args.vector_a && args.perm == nullptr;
  const bool whole = 16 * (first_step + steps) <= args.k;
  const std::uint16_t* a = static_cast<const std::uint16_t*>(args.a);
  for (int row = threadIdx.x / 32; row < rows; row += blockDim.x / 32) {  // a warp a row: its lanes read consecutive units
    const std::uint16_t* source = a + (first_token + row) * args.lda;
    unsigned char* target_row = target + row * args.row_bytes;
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(target_row));
    if (direct && whole) {
      const uint4* units_at = reinterpret_cast<const uint4*>(source + 16 * first_step);
#pragma unroll 4
      for (int unit = threadIdx.x % 32; unit < units; unit += 32) ptx::async_copy_16(address + unit_offset(row, unit), units_at + unit);
    } else if (direct) {
      for (int unit = threadIdx.x % 32; unit < units; unit += 32) {
        const int k = 16 * first_step + 8 * unit;
        const int valid = max(0, min(8, args.k - k));
        ptx::async_copy_16_zero_fill(address + unit_offset(row, unit), valid > 0 ? source + k : source, 2 * valid);
      }
    } else {
      for (int unit = threadIdx.x % 32; unit < units; unit += 32) {
        *reinterpret_cast<uint4*>(target_row + unit_offset(row, unit)) = gather_unit(args, source, 16 * first_step + 8 * unit);
      }
    }
  }
}

}  // namespace billfish::cuda::mma
