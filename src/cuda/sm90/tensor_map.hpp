// SPDX-License-Identifier: Apache-2.0
// Tensor maps, the copy engine's description of a matrix in memory. Called by the host halves of the sm90 kernels.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "core/status.hpp"

namespace billfish::cuda {

// A tensor of two or three dimensions (sizes[2] = 0: two), innermost first, and the box that one copy brings.
struct TensorMapShape {
  CUtensorMapDataType type;
  const void* base;
  std::int64_t sizes[3];
  std::int64_t strides[2];  // bytes between rows, and between planes
  std::int64_t box[3];
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;
};

// What lies outside of the tensor is read as zeros.
Status encode_tensor_map(CUtensorMap& map, const TensorMapShape& shape);

}  // namespace billfish::cuda
