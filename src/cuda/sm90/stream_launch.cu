// SPDX-License-Identifier: Apache-2.0
// The streaming kernel's host half: tensor maps, arguments, launch. No allocation, no synchronisation.
#include "cuda/host.hpp"
#include "cuda/sm90/scale_rows.hpp"
#include "cuda/sm90/shares_plan.hpp"
#include "cuda/sm90/stream_arguments.hpp"
#include "cuda/sm90/stream_instances.hpp"
#include "cuda/sm90/stream_plan.hpp"
#include "cuda/sm90/stream_policy.hpp"
#include "cuda/sm90/tensor_map.hpp"
#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::cuda::stream {

namespace {

const void* kernel_of(WeightType weight, ElementType a, int policy, bool fine) {
  const bool bf16 = a == ElementType::bf16;
  switch (weight) {
    case WeightType::u4b8: return (bf16 ? sm90::stream_u4b8_bf16 : sm90::stream_u4b8_f16)(policy, fine);
    case WeightType::u4: return (bf16 ? sm90::stream_u4_bf16 : sm90::stream_u4_f16)(policy, fine);
    case WeightType::u8b128: return (bf16 ? sm90::stream_u8b128_bf16 : sm90::stream_u8b128_f16)(policy, fine);
    case WeightType::u8: return nullptr;
  }
  return nullptr;
}

PreparedKernels& prepared_of(WeightType weight, ElementType a) {
  static PreparedKernels tables[3][2];
  return tables[static_cast<int>(weight)][a == ElementType::bf16];
}

struct Maps {
  CUtensorMap codes, scales, zeros, activations;
};

Status encode(const gemm::Plan& plan, const gemm::Problem& p, const gemm::Call& call, int rows, Maps& maps) {
  const PackedMatrix& w = *call.weights;
  const int bits = bits_of(w.type);
  const std::int64_t code_row = w.padded_n() * bits * 2;
  BILLFISH_RETURN_IF_ERROR(encode_tensor_map(maps.codes, {.type = CU_TENSOR_MAP_DATA_TYPE_INT64,
                                                          .base = w.codes,
                                                          .sizes = {code_row / 8, w.padded_k() / 16},
                                                          .strides = {code_row},
                                                          .box = {sm90::kStreamColumns * bits / 4, plan.tile_k / 16}}));
  if (rows > 0) {
    BILLFISH_RETURN_IF_ERROR(encode_tensor_map(maps.scales, {.type = CU_TENSOR_MAP_DATA_TYPE_UINT16,
                                                             .base = w.scales,
                                                             .sizes = {w.padded_n(), w.groups()},
                                                             .strides = {w.padded_n() * 2},
                                                             .box = {sm90::kStreamColumns, rows}}));
    if (has_zeros(w.type)) {
      BILLFISH_RETURN_IF_ERROR(encode_tensor_map(maps.zeros, {.type = CU_TENSOR_MAP_DATA_TYPE_UINT8,
                                                              .base = w.zeros,
                                                              .sizes = {w.padded_n() / 2, w.groups()},
                                                              .strides = {w.padded_n() / 2},
                                                              .box = {sm90::kStreamColumns / 2, rows}}));
    }
  }
  const std::int64_t row = p.m == 1 ? round_up(p.k * 2, 16) : call.lda * 2;
  const bool whole = p.k % 64 == 0;
  return encode_tensor_map(maps.activations,
                           {.type = p.a == ElementType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                            .base = call.a,
                            .sizes = {whole ? 64 : p.k, p.m, whole ? p.k / 64 : 1},
                            .strides = {row, 128},
                            .box = {64, plan.tile_m, whole ? plan.tile_k / 64 : 1},
                            .swizzle = CU_TENSOR_MAP_SWIZZLE_128B});
}

}  // namespace

Status run(const gemm::Plan& plan, const gemm::Problem& p, const gemm::Call& call) {
  const PackedMatrix& w = *call.weights;
  const bool fine = plan.detail[0] != 0;
  const int policy = plan.policy - sm90::kPolicies;
  const void* kernel = kernel_of(p.weight, p.a, policy, fine);
  BILLFISH_RETURN_IF_ERROR(prepared_of(p.weight, p.a).ensure(w.device.index, policy * 2 + fine, kernel, sm90::kStreamShared));

  sm90::StreamArguments args{};
  const int steps = plan.tile_k / 16;
  args.per_column = w.per_column();
  args.group_steps = args.per_column ? static_cast<int>(w.padded_k() / 16) + steps : static_cast<int>(w.group / 16);
  args.rows = args.per_column ? 0 : sm90::rows_touched(steps, args.group_steps);
  args.even_groups = sm90::even_groups(steps, args.group_steps, p.scale == p.a);
  const sm90::StreamMap map =
      sm90::stream_map(sm90::kStreamConfigs[policy], bits_of(w.type), has_zeros(w.type), args.rows, static_cast<int>(p.m), plan.stages);
  Maps maps;
  BILLFISH_RETURN_IF_ERROR(encode(plan, p, call, args.rows, maps));
  args.scales = static_cast<const unsigned short*>(w.scales);
  args.zeros = reinterpret_cast<const unsigned char*>(w.zeros);
  args.bias = call.bias ? w.bias : nullptr;
  args.c = call.c;
  args.workspace = static_cast<float*>(call.workspace);
  args.ldc = call.ldc;
  args.m = static_cast<int>(p.m);
  args.n = static_cast<int>(p.n);
  const ShareWork work = {ceil_div(p.n, sm90::kStreamColumns), ceil_div(p.k, plan.tile_k)};
  args.shares = shares_of(work, plan.blocks, plan.detail[1] != 0);
  args.zero_row_bytes = static_cast<int>(w.padded_n() / 2);
  args.group_identity = args.group_steps == 1;
  args.group_magic =
      args.group_steps == 1 ? 0 : static_cast<unsigned>(((std::uint64_t{1} << 32) + args.group_steps - 1) / args.group_steps);
  args.slots = map.slots;
  args.item_bytes = map.item;
  args.extra_bytes = map.extra;
  args.zeros_offset = map.scales;
  args.whole_panels = p.k % 64 == 0;
  args.scale_bf16 = w.scale_type == ElementType::bf16;
  args.bias_type = static_cast<int>(w.bias_type);
  args.bias_permuted = w.bias_permuted;
  args.c_type = static_cast<int>(p.c);
  args.vector_store = p.aligned_c && p.c != ElementType::f32;

  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(plan.blocks));
  config.blockDim = dim3(static_cast<unsigned>(plan.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(plan.shared_bytes);
  config.stream = static_cast<cudaStream_t>(call.stream);
  config.attrs = &attribute;
  config.numAttrs = plan.dependent_launch ? 1 : 0;
  void* parameters[] = {&maps.codes, &maps.scales, &maps.zeros, &maps.activations, &args};
  return status_of(cudaLaunchKernelExC(&config, kernel, parameters), "launching the sm90 streaming kernel");
}

Status prepare(int device) {
  int major = 0, minor = 0;
  BILLFISH_RETURN_IF_ERROR(
      status_of(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "reading the architecture"));
  BILLFISH_RETURN_IF_ERROR(
      status_of(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "reading the architecture"));
  if (major != 9 || minor != 0) return {};
  for (WeightType weight : {WeightType::u4b8, WeightType::u4, WeightType::u8b128}) {
    for (ElementType a : {ElementType::f16, ElementType::bf16}) {
      for (int policy = 0; policy < sm90::kStreamPolicies; ++policy) {
        for (bool fine : {false, true}) {
          BILLFISH_RETURN_IF_ERROR(
              prepared_of(weight, a).ensure(device, policy * 2 + fine, kernel_of(weight, a, policy, fine), sm90::kStreamShared));
        }
      }
    }
  }
  return {};
}

}  // namespace billfish::cuda::stream
