// SPDX-License-Identifier: Apache-2.0
// The driver's encoder is found at run time, so that the library needs no libcuda to load.
#include "cuda/sm90/tensor_map.hpp"

#include <atomic>

#include "cuda/host.hpp"

namespace billfish::cuda {

namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*, const cuuint32_t*,
                            const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

Encode find_encoder() {
  static std::atomic<Encode> cached{nullptr};
  Encode function = cached.load(std::memory_order_acquire);
  if (function == nullptr) {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found) == cudaSuccess &&
        found == cudaDriverEntryPointSuccess) {
      function = reinterpret_cast<Encode>(entry);
      cached.store(function, std::memory_order_release);
    }
  }
  return function;
}

}  // namespace

Status encode_tensor_map(CUtensorMap& map, const TensorMapShape& shape) {
  const Encode encode = find_encoder();
  if (encode == nullptr) return device_error("this driver has no cuTensorMapEncodeTiled: CUDA 12 or later is needed");
  const bool planes = shape.sizes[2] != 0;
  cuuint64_t sizes[3], strides[2];
  cuuint32_t box[3];
  const cuuint32_t steps[3] = {1, 1, 1};
  for (int i = 0; i < 3; ++i) {
    sizes[i] = static_cast<cuuint64_t>(shape.sizes[i]);
    box[i] = static_cast<cuuint32_t>(shape.box[i]);
  }
  for (int i = 0; i < 2; ++i) strides[i] = static_cast<cuuint64_t>(shape.strides[i]);
  const auto try_once = [&] {
    return encode(&map, shape.type, planes ? 3 : 2, const_cast<void*>(shape.base), sizes, strides, box, steps,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, shape.swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  };
  CUresult result = try_once();
  if (result == CUDA_ERROR_INVALID_CONTEXT) {  // a thread's first call: to choose the device, chosen as it is, gives the thread its context
    int device = 0;
    BILLFISH_RETURN_IF_ERROR(status_of(cudaGetDevice(&device), "reading the current device"));
    BILLFISH_RETURN_IF_ERROR(status_of(cudaSetDevice(device), "making the device current"));
    result = try_once();
  }
  if (result != CUDA_SUCCESS) {
    return device_error("the driver refused a tensor map of " + std::to_string(shape.sizes[0]) + " x " + std::to_string(shape.sizes[1]) +
                        " elements (error " + std::to_string(result) + ")");
  }
  return {};
}

}  // namespace billfish::cuda
