// SPDX-License-Identifier: Apache-2.0
// The second launch of a product whose K is split over blocks: C = sum of the splits' partial sums, in the order of the splits.
// Launched by mma_launch.cu right behind mma_gemm, as its dependent where the device can.
#include "cuda/ptx/dependent_launch.cuh"
#include "cuda/sm80/mma_epilogue.cuh"
#include "cuda/sm80/mma_kernels.hpp"

namespace billfish::cuda::mma {
namespace {

// A thread has eight columns of a row; a row has column_blocks blocks.
__global__ void __launch_bounds__(kReduceThreads) mma_reduce(const __grid_constant__ MmaArguments args, unsigned column_blocks) {
  ptx::allow_dependents();
  const int row = static_cast<int>(blockIdx.x / column_blocks);
  const int column = static_cast<int>(blockIdx.x % column_blocks * kReduceThreads + threadIdx.x) * 8;
  ptx::wait_for_predecessors();
  if (column >= args.n) return;
  float value[8];
  sum_in_order(args.partials + static_cast<std::int64_t>(row) * args.padded_n + column, args.splits,
               static_cast<std::int64_t>(args.m) * args.padded_n, value);
  finish(args, row, column, value);
}

}  // namespace

const void* reduce_kernel() { return reinterpret_cast<const void*>(mma_reduce); }

}  // namespace billfish::cuda::mma
