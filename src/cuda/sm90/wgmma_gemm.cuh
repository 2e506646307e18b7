// SPDX-License-Identifier: Apache-2.0
// The sm90 kernel: C = A x decode(W), operands swapped (weights^T are A of wgmma, in registers; activations^T are B, in shared memory), one
// main loop for every M. Two consumer warpgroups and a producer warp. A tile of C has one block, or a cluster that splits K, or, where
// there is a workspace of zeros, as many blocks as make all shares equal; tiles side by side may have a cluster that shares activations.
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
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < V::kStages; ++slot) {
      ptx::mbarrier_init(shared.full(slot), 1);
      ptx::mbarrier_init(shared.empty(slot), V::kConfig.consumer_warps() * V::kAbreast);
    }
    ptx::mbarrier_init(shared.exchange(), 1);
    ptx::fence_mbarrier_init();
    if constexpr (V::kCluster) {
      ptx::mbarrier_expect(shared.exchange(), Epilogue<V>::expected_bytes(args, Walk<V>{args, shared}.work(), ptx::cluster_rank()));
    } else {
      Walk<V>::prepare(args, shared);
    }
    ptx::prefetch_tensor_map(&codes_map);
    ptx::prefetch_tensor_map(&a_map);
  }
  __syncthreads();
  constexpr bool kTogether = V::kCluster || V::kAbreast > 1;
  if constexpr (kTogether) ptx::cluster_arrive();
  ptx::allow_dependents();
  if constexpr (kTogether) ptx::cluster_wait();  // nobody sends anything before the receiver's barriers are ready
  Walk<V> walk{args, shared};

  if (warp >= V::kConfig.consumer_warps()) {
    if constexpr (V::kConfig.blocks_per_sm == 1) ptx::release_registers<V::kProducerRegisters>();
    if (warp == V::kConfig.consumer_warps()) {
      const Producer<V> producer{&a_map, &codes_map, &scales_map, &zeros_map, args, shared, lane};
      producer.run(walk);
      __syncwarp();
    }
    if constexpr ((V::kCluster && V::kConfig.alias_sums) || V::kAbreast > 1) {
      ptx::cluster_arrive();
      ptx::cluster_wait();
    }
    return;
  }

  if constexpr (V::kConfig.blocks_per_sm == 1) ptx::claim_registers<V::kConsumerRegisters>();
  const int thread = static_cast<int>(threadIdx.x);
  const Consumer<V> consumer{args, shared, warp / 4, warp % 4, lane};
  Ring<V> ring;
  if constexpr (V::kCluster) {
    const Work work = walk.work();
    const Epilogue<V> epilogue{args, shared, work};
    typename Consumer<V>::Accumulators sums;  // uninitialised: the first step overwrites
    consumer.multiply_tile(work, ring, sums);
    if constexpr (V::kConfig.alias_sums) {
      ptx::cluster_arrive();  // every block's stages are read: their memory may be overwritten
      ptx::cluster_wait();
    }
    epilogue.send(sums, consumer.sub_block(), ptx::cluster_rank(), lane);
    epilogue.receive();
    epilogue.add_and_store(ptx::cluster_rank(), thread);
  } else {
    do {
      typename Consumer<V>::Accumulators sums;
      consumer.multiply_tile(walk.work(), ring, sums);
      walk.forget();  // two divisions are cheaper than the registers that would carry the place through the main loop
      const Work work = walk.work();
      const Epilogue<V> epilogue{args, shared, work};
      if (walk.leaves(work)) {
        epilogue.leave(sums, blockIdx.x, thread);
      } else {
        epilogue.store(sums, walk.helpers(work), ring, consumer.group, warp % 4, lane);
      }
    } while (walk.next());
    if constexpr (V::kAbreast > 1) {  // a block that has ended must not be written to any more
      __syncwarp();
      ptx::cluster_arrive();
      ptx::cluster_wait();
    }
  }
}

}  // namespace billfish::sm90
