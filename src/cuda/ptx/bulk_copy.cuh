// SPDX-License-Identifier: Apache-2.0
// The copy engine: bulk copies and tensor-map copies into shared memory, completing on an mbarrier, and from there back to memory.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace billfish::ptx {

// `bytes` is a multiple of 16, both addresses are aligned to 16.
inline __device__ void bulk_copy(std::uint32_t target, const void* source, int bytes, std::uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(target), "l"(source),
               "r"(bytes), "r"(barrier)
               : "memory");
}
// The box of `map` whose first element is (x, y); what lies outside of the tensor arrives as zeros and counts as bytes.
inline __device__ void tensor_copy(std::uint32_t target, const CUtensorMap* map, int x, int y, std::uint32_t barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(target),
               "l"(map), "r"(x), "r"(y), "r"(barrier)
               : "memory");
}
inline __device__ void tensor_copy(std::uint32_t target, const CUtensorMap* map, int x, int y, int z, std::uint32_t barrier) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(target),
               "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier)
               : "memory");
}
// Likewise into the same place of every block of the cluster whose bit is set in `blocks`; each one's own barrier counts the bytes.
inline __device__ void tensor_copy_to(unsigned blocks, std::uint32_t target, const CUtensorMap* map, int x, int y, std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::
          "r"(target),
      "l"(map), "r"(x), "r"(y), "r"(barrier), "h"(static_cast<unsigned short>(blocks))
      : "memory");
}
// From shared memory to the box of `map` whose first element is (x, y); what lies outside of the tensor is not written.
inline __device__ void tensor_store(const CUtensorMap* map, int x, int y, std::uint32_t source) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(x), "r"(y), "r"(source)
               : "memory");
}
inline __device__ void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until the copy engine has read all that this thread has committed: its shared memory may be written again, or given back.
inline __device__ void wait_for_stores_to_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
inline __device__ void prefetch_tensor_map(const CUtensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }

}  // namespace billfish::ptx
