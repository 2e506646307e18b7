// SPDX-License-Identifier: Apache-2.0
// The sm90 kernel: C = A x decode(W), operands swapped (weights^T are A of wgmma, in registers; activations^T are B, in shared memory), one
// main loop for every M. Two or three consumer warpgroups and a producer warp. A tile of C has one block, or a cluster that splits K, or,
// where there is a workspace of zeros, as many blocks as make all shares equal; tiles side by side may have a cluster that shares
// activations. docs/kernels/sm90-wgmma.md tells it with pictures and numbers. Launched by wgmma_launch.cu.
#pragma once

#include "cuda/sm90/wgmma_consumer.cuh"
#include "cuda/sm90/wgmma_cluster_sums.cuh"
#include "cuda/sm90/wgmma_shared_sums.cuh"
#include "cuda/sm90/wgmma_producer.cuh"

namespace billfish::sm90 {

template <class V>
__global__ void __launch_bounds__(V::kConfig.threads(), V::kConfig.blocks_per_sm)
    wgmma_gemm(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap codes_map,
               const __grid_constant__ CUtensorMap scales_map, const __grid_constant__ CUtensorMap zeros_map,
               const __grid_constant__ CUtensorMap c_map, const __grid_constant__ WgmmaArguments args) {
  extern __shared__ unsigned char memory[];
  const Shared<V> shared{(ptx::shared_address(memory) + 1023u) & ~1023u};
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);  // uniform, so that descriptors stay so
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (!V::kCluster && V::kConfig.blocks_per_sm == 2) {
    if (args.shared_tiles == 0 && static_cast<int>(Unit<V>::index()) >= args.tiles_m * args.tiles_n) return;  // idle: plan_of says why
  }
  const Producer<V> producer{&a_map, &codes_map, &scales_map, &zeros_map, args, shared};
  Work work;  // the first is the producer's before the others know where they are
  if (warp == V::kConfig.consumer_warps()) {
    work = Walk<V>::first(args);
    if (lane == 0) {
      for (int slot = 0; slot < V::kStages; ++slot) {
        ptx::mbarrier_init(shared.full(slot), 1);
        ptx::mbarrier_init(shared.empty(slot), V::kConfig.consumer_warps() * V::kAbreast);
      }
      ptx::fence_mbarrier_init();
    }
    __syncwarp();
    producer.start(work);
  } else if (threadIdx.x == 0) {
    if constexpr (V::kCluster) {
      ptx::mbarrier_init(shared.exchange(), 1);
      ptx::fence_mbarrier_init();
      ptx::mbarrier_expect(shared.exchange(), ClusterSums<V>::expected_bytes(args, Walk<V>::first(args), ptx::cluster_rank()));
    } else {
      Walk<V>::prepare(args, shared);
    }
    ptx::prefetch_tensor_map(&a_map);
    if (staged_tokens(V::kConfig) > 0 && args.vector_store) ptx::prefetch_tensor_map(&c_map);
  }
  __syncthreads();
  if constexpr (V::kCluster || V::kAbreast > 1) {  // nobody sends anything before the receiver's barriers are ready
    ptx::cluster_arrive();
    ptx::cluster_wait();
  }
  Walk<V> walk{args, shared};

  if (warp >= V::kConfig.consumer_warps()) {
    if constexpr (V::kConfig.blocks_per_sm == 1) ptx::release_registers<V::kConfig.producer_registers()>();
    if (warp == V::kConfig.consumer_warps()) {
      producer.run(walk, work);
      __syncwarp();
    }
    if constexpr ((V::kCluster && V::kConfig.alias_sums) || V::kAbreast > 1) {
      ptx::cluster_arrive();
      ptx::cluster_wait();
    }
    return;
  }

  if constexpr (V::kConfig.blocks_per_sm == 1) ptx::claim_registers<V::kConfig.consumer_registers()>();
  const int thread = static_cast<int>(threadIdx.x);
  const Consumer<V> consumer{args, shared, warp / 4, warp % 4, lane};
  Ring<V> ring;
  if constexpr (V::kCluster) {
    work = walk.work();
    const ClusterSums<V> cluster{args, shared, work};
    typename Consumer<V>::Accumulators sums;  // uninitialised: the first step overwrites
    consumer.multiply_tile(work, ring, sums);
    if constexpr (V::kConfig.alias_sums) {
      ptx::cluster_arrive();  // every block's stages are read: their memory may be overwritten
      ptx::cluster_wait();
    }
    cluster.send(sums, consumer.sub_block(), ptx::cluster_rank(), lane);
    cluster.receive();
    cluster.add_and_store(ptx::cluster_rank(), thread);
  } else {
    bool more = true;
    while (more) {
      work = walk.work();
      if (lane == 0) visit_of<V>(args, walk.meeting(), work).save(shared.visit(warp));
      typename Consumer<V>::Accumulators sums;
      consumer.multiply_tile(work, ring, sums);
      __syncwarp();
      const Visit visit = Visit::saved(shared.visit(warp));
      __syncwarp();
      const Epilogue<V> epilogue{args, &c_map, shared, visit.m0, visit.n0, consumer.group, warp % 4, lane};
      if (visit.is_shared()) {
        const SharedSums<V> shared_sums{epilogue, visit};
        shared_sums.leave(sums);
        shared_sums.collect(sums);
      } else {
        epilogue.store(sums);
      }
      more = walk.next();
    }
    Epilogue<V>::await_stores(warp % 4);
    if constexpr (V::kAbreast > 1) {  // a block that has ended must not be written to any more
      __syncwarp();
      ptx::cluster_arrive();
      ptx::cluster_wait();
    }
  }
}

}  // namespace billfish::sm90
