// SPDX-License-Identifier: Apache-2.0
// The sm90 kernel: C = A x decode(W), operands swapped (weights^T are A of wgmma, in registers; activations^T are B, in shared memory), one
// main loop for every M. Two consumer warpgroups and a producer warp; a cluster's blocks share a tile of C and split K.
// docs/kernels/sm90-wgmma.md tells it with pictures and numbers. Launched by wgmma_launch.cu.
#pragma once

#include "cuda/sm90/wgmma_consumer.cuh"
#include "cuda/sm90/wgmma_epilogue.cuh"
#include "cuda/sm90/wgmma_producer.cuh"

namespace billfish::sm90 {

template <class V>
__global__ void __launch_bounds__(V::kConfig.threads(), V::kConfig.blocks_per_sm)
    wgmma_gemm(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap codes_map,
               const __grid_constant__ CUtensorMap scales_map, const __grid_constant__ CUtensorMap zeros_map,
               const __grid_constant__ WgmmaArguments args) {
  extern __shared__ unsigned char memory[];
  const Shared<V> shared{(ptx::shared_address(memory) + 1023u) & ~1023u};
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);  // uniform, so that descriptors stay so
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int rank = static_cast<int>(ptx::cluster_rank());
  const int first_tile = static_cast<int>(blockIdx.x) / args.splits;
  const int tile_step = static_cast<int>(gridDim.x) / args.splits;
  // Partial sums meet in some block unless one warpgroup has each of them whole.
  const bool exchanged = !(V::kWholeAlone && args.splits == 1);

  if (threadIdx.x == 0) {
    for (int slot = 0; slot < V::kStages; ++slot) {
      ptx::mbarrier_init(shared.full(slot), 1);
      ptx::mbarrier_init(shared.empty(slot), V::kConfig.consumer_warps());
    }
    ptx::mbarrier_init(shared.exchange(), 1);
    ptx::fence_mbarrier_init();
    if (args.splits > 1)
      ptx::mbarrier_expect(shared.exchange(), Epilogue<V>::expected_bytes(args, work_of<V>(args, first_tile, rank), rank));
    ptx::prefetch_tensor_map(&codes_map);
    ptx::prefetch_tensor_map(&a_map);
  }
  __syncthreads();
  ptx::cluster_arrive();
  ptx::allow_dependents();
  ptx::cluster_wait();  // nobody sends sums before the receiver's barrier is ready

  if (warp >= V::kConfig.consumer_warps()) {
    if constexpr (V::kConfig.blocks_per_sm == 1) ptx::release_registers<V::kProducerRegisters>();
    if (warp == V::kConfig.consumer_warps()) {
      const Producer<V> producer{&a_map, &codes_map, &scales_map, &zeros_map, args, shared, lane};
      producer.run(first_tile, tile_step, rank);
      __syncwarp();
    }
    if (V::kConfig.alias_sums && exchanged) {
      ptx::cluster_arrive();
      ptx::cluster_wait();
    }
    return;
  }

  if constexpr (V::kConfig.blocks_per_sm == 1) ptx::claim_registers<V::kConsumerRegisters>();
  const int group = warp / 4;
  const Consumer<V> consumer{args, shared, group % V::kConfig.groups_n, group / V::kConfig.groups_n, warp % 4, lane};
  Ring<V> ring;
  if (!exchanged) {
    for (int tile = first_tile; tile < args.tiles_m * args.tiles_n; tile += tile_step) {
      const Work work = work_of<V>(args, tile, rank);
      typename Consumer<V>::Accumulators sums;  // uninitialised: the first step overwrites
      consumer.multiply_tile(work, ring, sums);
      if constexpr (V::kWholeAlone) Epilogue<V>{args, shared, work}.store(sums, consumer.group_n, warp % 4, lane);
    }
    return;
  }
  const Work work = work_of<V>(args, first_tile, rank);
  typename Consumer<V>::Accumulators sums;
  if constexpr (V::kScaleSums) {
    consumer.multiply_tile_scaled_sums(work, ring, sums);
  } else {
    consumer.multiply_tile(work, ring, sums);
  }
  if constexpr (V::kConfig.alias_sums) {
    ptx::cluster_arrive();  // every block's stages are read: their memory may be overwritten
    ptx::cluster_wait();
  }
  const Epilogue<V> epilogue{args, shared, work};
  epilogue.send(sums, consumer.sub_block(), rank * V::kConfig.groups_k + consumer.group_k, lane);
  epilogue.receive();
  epilogue.add_and_store(rank, static_cast<int>(threadIdx.x));
}

}  // namespace billfish::sm90
