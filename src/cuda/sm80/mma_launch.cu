// SPDX-License-Identifier: Apache-2.0
// The launch of a plan of the sm80 family: no allocation, no synchronisation, nothing that a graph cannot capture.
// Called through gemm::Implementation cuda::sm80; calls the kernels of mma_<type>.cu and mma_reduce.cu.
#include "cuda/families.hpp"
#include "cuda/host.hpp"
#include "cuda/sm80/mma_kernels.hpp"
#include "cuda/sm80/mma_policy.hpp"

namespace billfish::cuda::mma {
namespace {

constexpr int kKernels = 4 * 2 * kPolicies;
PreparedKernels prepared;

int kernel_index(WeightType type, bool bf16, int policy) { return (static_cast<int>(type) * 2 + bf16) * kPolicies + policy; }

const void* kernel_of(WeightType type, bool bf16, int policy) {
  switch (type) {
    case WeightType::u4b8: return Instances<WeightType::u4b8>::kernel(bf16, policy);
    case WeightType::u4: return Instances<WeightType::u4>::kernel(bf16, policy);
    case WeightType::u8b128: return Instances<WeightType::u8b128>::kernel(bf16, policy);
    case WeightType::u8: return Instances<WeightType::u8>::kernel(bf16, policy);
  }
  return nullptr;
}

// What a block may have at most on this device: the attribute is set once, for every plan.
Status shared_limit(int device, int* bytes) {
  return status_of(cudaDeviceGetAttribute(bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking for the device's shared memory");
}

Status ensure(int device, WeightType type, bool bf16, int policy) {
  const int index = kernel_index(type, bf16, policy);
  if (prepared.is_ready(device, index)) return {};
  int limit = 0;
  BILLFISH_RETURN_IF_ERROR(shared_limit(device, &limit));
  return prepared.ensure(device, index, kernel_of(type, bf16, policy), limit);
}

MmaArguments arguments_of(const gemm::Plan& plan, const gemm::Problem& problem, const gemm::Call& call) {
  const PackedMatrix& weights = *call.weights;
  MmaArguments args = {};
  args.a = call.a;
  args.codes = weights.codes;
  args.scales = weights.scales;
  args.zeros = weights.zeros;
  args.perm = problem.act_order ? weights.perm : nullptr;
  args.bias = call.bias ? weights.bias : nullptr;
  args.c = call.c;
  args.partials = static_cast<float*>(call.workspace);
  args.lda = call.lda;
  args.ldc = call.ldc;
  args.m = static_cast<int>(call.m);
  args.n = static_cast<int>(weights.n);
  args.k = static_cast<int>(weights.k);
  args.padded_n = static_cast<int>(weights.padded_n());
  args.code_row_bytes = static_cast<std::uint32_t>(weights.padded_n() * bits_of(weights.type) * 2);
  args.steps = static_cast<int>(weights.padded_k() / 16);
  args.per_column = weights.per_column() && args.steps > 0;
  args.group_steps = weights.per_column() ? (args.steps > 0 ? args.steps : 1) : static_cast<int>(weights.group / 16);
  args.steps_per_split = static_cast<int>(plan.detail[kStepsPerSplit]);
  args.splits = plan.splits;
  args.tile_m = plan.tile_m;
  args.tile_n = plan.tile_n;
  args.warps_k = static_cast<int>(plan.detail[kWarpsK]);
  args.run_steps = static_cast<int>(plan.detail[kRunSteps]);
  args.row_bytes = static_cast<int>(chunk_row_bytes(args.warps_k, args.run_steps));
  args.scale_bf16 = weights.scale_type == ElementType::bf16;
  args.bias_bf16 = weights.bias_type == ElementType::bf16;
  args.bias_f32 = weights.bias_type == ElementType::f32;
  args.bias_permuted = weights.bias_permuted;
  args.c_bf16 = problem.c == ElementType::bf16;
  args.c_f32 = problem.c == ElementType::f32;
  args.vector_a = problem.aligned_a;
  args.vector_c = problem.aligned_c;
  return args;
}

Status launch(const void* kernel, dim3 grid, int threads, std::int64_t shared, bool dependent, void* stream, void** parameters) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = static_cast<std::size_t>(shared);
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  const cudaError_t error = cudaLaunchKernelExC(&config, kernel, parameters);
  return error == cudaSuccess ? Status() : status_of(error, "launching the sm80 kernel");
}

}  // namespace

// An error of the first launch leaves C as it was; nothing is launched after it.
Status run(const gemm::Plan& plan, const gemm::Problem& problem, const gemm::Call& call) {
  const int device = call.weights->device.index;
  const bool bf16 = problem.a == ElementType::bf16;
  const DeviceGuard guard(device);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  BILLFISH_RETURN_IF_ERROR(ensure(device, call.weights->type, bf16, plan.policy));
  MmaArguments args = arguments_of(plan, problem, call);
  const dim3 grid(static_cast<unsigned>(plan.blocks / plan.splits), static_cast<unsigned>(plan.splits));
  void* parameters[] = {&args, nullptr};
  BILLFISH_RETURN_IF_ERROR(launch(kernel_of(call.weights->type, bf16, plan.policy), grid, plan.threads, plan.shared_bytes,
                                  plan.dependent_launch, call.stream, parameters));
  if (plan.splits == 1) return {};
  // Behind one's own kernel a dependent launch is always right: the sum waits before it reads.
  unsigned column_blocks = static_cast<unsigned>(ceil_div(args.padded_n / 8, kReduceThreads));
  parameters[1] = &column_blocks;
  return launch(reduce_kernel(), dim3(static_cast<unsigned>(args.m) * column_blocks), kReduceThreads, 0, plan.detail[kReduceDependent] != 0,
                call.stream, parameters);
}

Status prepare(int device_index) {
  for (int type = 0; type < 4; ++type) {
    for (const bool bf16 : {false, true}) {
      for (int policy = 0; policy < kPolicies; ++policy) {
        BILLFISH_RETURN_IF_ERROR(ensure(device_index, static_cast<WeightType>(type), bf16, policy));
      }
    }
  }
  return prepared.ensure(device_index, kKernels, reduce_kernel(), 0);
}

}  // namespace billfish::cuda::mma
