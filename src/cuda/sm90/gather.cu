// SPDX-License-Identifier: Apache-2.0
// The copy of gather.hpp: a thread has eight columns of some rows; it reads them one by one, wherever they are, and writes 16 bytes.
#include <cuda_runtime_api.h>

#include <algorithm>

#include "cuda/host.hpp"
#include "cuda/ptx/dependent_launch.cuh"
#include "cuda/sm90/gather.hpp"

namespace billfish::cuda::gather {

namespace {

constexpr int kThreads = 128, kMostRows = 4096;  // blocks along the rows

// perm null: columns stay where they are.
__global__ void __launch_bounds__(kThreads)
    gather_activations(const unsigned short* a, std::int64_t lda, const std::int32_t* perm, uint4* target, int m, int k) {
  ptx::allow_dependents();
  const int chunk = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x), row_chunks = (k + 7) / 8;
  if (chunk >= row_chunks) return;
  int columns[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int column = min(chunk * 8 + i, k - 1);
    columns[i] = perm != nullptr ? perm[column] : column;
  }
  ptx::wait_for_predecessors();
  for (int row = static_cast<int>(blockIdx.y); row < m; row += static_cast<int>(gridDim.y)) {
    const unsigned short* const from = a + row * lda;
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) words[i] = from[columns[2 * i]] | static_cast<unsigned>(from[columns[2 * i + 1]]) << 16;
    target[static_cast<std::int64_t>(row) * row_chunks + chunk] = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

PreparedKernels prepared;

}  // namespace

Status run(const gemm::Problem& problem, const gemm::Call& call, void* target, bool dependent_launch) {
  const PackedMatrix& w = *call.weights;
  BILLFISH_RETURN_IF_ERROR(prepared.ensure(w.device.index, 0, reinterpret_cast<const void*>(&gather_activations), 0));
  const auto* a = static_cast<const unsigned short*>(call.a);
  const std::int32_t* perm = problem.act_order ? w.perm : nullptr;
  auto* out = static_cast<uint4*>(target);
  int m = static_cast<int>(problem.m), k = static_cast<int>(problem.k);
  std::int64_t lda = call.lda;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(ceil_div(k, std::int64_t{8} * kThreads)), static_cast<unsigned>(std::min(m, kMostRows)));
  config.blockDim = dim3(kThreads);
  config.stream = static_cast<cudaStream_t>(call.stream);
  config.attrs = &attribute;
  config.numAttrs = dependent_launch ? 1 : 0;
  void* parameters[] = {&a, &lda, &perm, &out, &m, &k};
  return status_of(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(&gather_activations), parameters),
                   "launching the copy of the activations");
}

Status prepare(int device) {
  int major = 0;
  BILLFISH_RETURN_IF_ERROR(
      status_of(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "reading the architecture"));
  if (major != 9) return {};
  return prepared.ensure(device, 0, reinterpret_cast<const void*>(&gather_activations), 0);
}

}  // namespace billfish::cuda::gather
