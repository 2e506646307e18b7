// SPDX-License-Identifier: Apache-2.0
// Host half of the sm90 kernel: a plan and its pointers become a tensor map, plain arguments and one launch. No allocation, no
// synchronisation. Called by gemm/ (run) and cuda::prepare.
#include <cuda_runtime_api.h>

#include <algorithm>

#include "cuda/families.hpp"
#include "cuda/host.hpp"
#include "cuda/sm90/scale_rows.hpp"
#include "cuda/sm90/shares_plan.hpp"
#include "cuda/sm90/tensor_map.hpp"
#include "cuda/sm90/wgmma_arguments.hpp"
#include "cuda/sm90/wgmma_instances.hpp"
#include "cuda/sm90/wgmma_policy.hpp"

namespace billfish::cuda::wgmma {

namespace {

const void* kernel_of(WeightType weight, ElementType a, int policy, sm90::Grain grain, bool cluster) {
  const bool bf16 = a == ElementType::bf16;
  switch (weight) {
    case WeightType::u4b8: return (bf16 ? sm90::kernel_u4b8_bf16 : sm90::kernel_u4b8_f16)(policy, grain, cluster);
    case WeightType::u4: return (bf16 ? sm90::kernel_u4_bf16 : sm90::kernel_u4_f16)(policy, grain, cluster);
    case WeightType::u8b128: return (bf16 ? sm90::kernel_u8b128_bf16 : sm90::kernel_u8b128_f16)(policy, grain, cluster);
    case WeightType::u8: return nullptr;
  }
  return nullptr;
}

// Index of a kernel among those of its codec and activation type.
int kernel_index(int policy, sm90::Grain grain, bool cluster) { return (policy * sm90::kGrains + static_cast<int>(grain)) * 2 + cluster; }
static_assert(sm90::kPolicies * sm90::kGrains * 2 <= PreparedKernels::kMost);

PreparedKernels& prepared_of(WeightType weight, ElementType a) {
  static PreparedKernels tables[3][2];
  return tables[static_cast<int>(weight)][a == ElementType::bf16];
}

// 16-byte stores of C.
bool vector_store(const gemm::Problem& p) { return p.aligned_c && p.c != ElementType::f32; }

Status encode_activations(const gemm::Plan& plan, const gemm::Problem& p, const gemm::Call& call, CUtensorMap& map) {
  return encode_tensor_map(map, {.type = p.a == ElementType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                                 .base = call.a,
                                 .sizes = {p.k, p.m},
                                 .strides = {p.m == 1 ? round_up(p.k * 2, 16) : call.lda * 2},
                                 .box = {64, plan.tile_m / sm90::kConfigs[plan.policy].abreast},
                                 .swizzle = CU_TENSOR_MAP_SWIZZLE_128B});
}

Status encode_codes(const gemm::Plan& plan, const PackedMatrix& w, CUtensorMap& map) {
  const std::int64_t row_bytes = w.padded_n() * bits_of(w.type) * 2;
  return encode_tensor_map(map, {.type = CU_TENSOR_MAP_DATA_TYPE_INT64,
                                 .base = w.codes,
                                 .sizes = {row_bytes / 8, w.padded_k() / 16},
                                 .strides = {row_bytes},
                                 .box = {sm90::part_bytes(sm90::kConfigs[plan.policy], bits_of(w.type)) / 8, plan.tile_k / 16}});
}

// Rows of scales that a stage may touch.
int rows_of(const gemm::Plan& plan, const PackedMatrix& w) {
  return w.per_column() ? 0 : sm90::rows_touched(plan.tile_k / 16, static_cast<int>(w.group / 16));
}

Status encode_scales(const gemm::Plan& plan, const PackedMatrix& w, CUtensorMap& scales, CUtensorMap& zeros) {
  const int rows = rows_of(plan, w);
  if (rows == 0) return {};
  BILLFISH_RETURN_IF_ERROR(encode_tensor_map(scales, {.type = CU_TENSOR_MAP_DATA_TYPE_UINT16,
                                                      .base = w.scales,
                                                      .sizes = {w.padded_n(), w.groups()},
                                                      .strides = {w.padded_n() * 2},
                                                      .box = {sm90::scale_columns(sm90::kConfigs[plan.policy]), rows}}));
  if (!has_zeros(w.type)) return {};
  return encode_tensor_map(zeros, {.type = CU_TENSOR_MAP_DATA_TYPE_UINT8,
                                   .base = w.zeros,
                                   .sizes = {w.padded_n() / 2, w.groups()},
                                   .strides = {w.padded_n() / 2},
                                   .box = {plan.tile_n / 2, rows}});
}

// What the kernel stores tiles through, where C allows 16-byte stores.
Status encode_output(const gemm::Plan& plan, const gemm::Problem& p, const gemm::Call& call, CUtensorMap& map) {
  const int tokens = sm90::staged_tokens(sm90::kConfigs[plan.policy]);
  if (tokens == 0 || !vector_store(p)) return {};
  return encode_tensor_map(map, {.type = CU_TENSOR_MAP_DATA_TYPE_UINT16,
                                 .base = call.c,
                                 .sizes = {p.n, p.m},
                                 .strides = {p.m == 1 ? round_up(p.n * 2, 16) : call.ldc * 2},
                                 .box = {64, tokens},
                                 .swizzle = CU_TENSOR_MAP_SWIZZLE_128B});
}

// Activations lie [tokens][64 k] with 128-byte swizzle: 8 tokens are 1024 bytes apart (in units of 16 bytes).
constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62, kEightTokens = std::uint64_t{1024 / 16} << 32, kNoOtherStride = 1u << 16;

sm90::WgmmaArguments arguments_of(const gemm::Plan& plan, const gemm::Problem& p, const gemm::Call& call) {
  const PackedMatrix& w = *call.weights;
  sm90::WgmmaArguments args{};
  args.scales = static_cast<const unsigned short*>(w.scales);
  args.zeros = reinterpret_cast<const unsigned char*>(w.zeros);
  args.bias = call.bias ? w.bias : nullptr;
  args.activations_descriptor = kSwizzle128 | kEightTokens | kNoOtherStride;
  args.c = call.c;
  args.ldc = call.ldc;
  args.zero_row_bytes = static_cast<int>(w.padded_n() / 2);
  args.m = static_cast<int>(p.m);
  args.n = static_cast<int>(p.n);
  args.steps = static_cast<int>(w.padded_k() / 16);
  const int abreast = sm90::kConfigs[plan.policy].abreast;
  args.splits = plan.cluster / abreast;
  args.split_magic = (65536u + static_cast<unsigned>(args.splits) - 1) / static_cast<unsigned>(args.splits);
  args.shared_tiles = static_cast<int>(plan.detail[2]);
  if (args.shared_tiles > 0) {
    args.shares = shares_of({plan.detail[2], ceil_div(p.k, plan.tile_k)}, plan.blocks / abreast, plan.detail[1] != 0);
    auto* const workspace = static_cast<unsigned char*>(call.workspace);
    args.flags = reinterpret_cast<unsigned*>(workspace + flags_offset(plan.detail[3]));
    args.slots = reinterpret_cast<float*>(workspace + (sm90::kConfigs[plan.policy].by_value() ? 0 : zeros_bytes(plan.detail[3])));
  }
  args.tiles_m = static_cast<int>(ceil_div(p.m, plan.tile_m));
  args.tiles_n = static_cast<int>(ceil_div(p.n, plan.tile_n * abreast));
  args.by_band = Divisor::by(static_cast<unsigned>(sm90::kTokenTilesDeep * args.tiles_n));
  args.by_last_height = Divisor::by(static_cast<unsigned>((args.tiles_m - 1) % sm90::kTokenTilesDeep + 1));
  args.per_column = w.per_column();
  args.group_steps = args.per_column ? args.steps : static_cast<int>(w.group / 16);
  args.group_identity = args.group_steps == 1;
  args.group_magic =
      args.group_steps == 1 ? 0 : static_cast<unsigned>(((std::uint64_t{1} << 32) + args.group_steps - 1) / args.group_steps);
  args.pairs_shift = sm90::pairs_shift(args.group_steps);
  args.rows = rows_of(plan, w);
  args.scale_bf16 = w.scale_type == ElementType::bf16;
  args.bias_type = static_cast<int>(w.bias_type);
  args.bias_permuted = w.bias_permuted;
  args.c_type = static_cast<int>(p.c);
  args.vector_store = vector_store(p);
  return args;
}

}  // namespace

Status run(const gemm::Plan& plan, const gemm::Problem& p, const gemm::Call& call) {
  const auto grain = static_cast<sm90::Grain>(plan.detail[0]);
  const bool splits = plan.cluster > sm90::kConfigs[plan.policy].abreast;
  const void* kernel = kernel_of(p.weight, p.a, plan.policy, grain, splits);
  const int device = call.weights->device.index;
  BILLFISH_RETURN_IF_ERROR(prepared_of(p.weight, p.a).ensure(device, kernel_index(plan.policy, grain, splits), kernel, plan.shared_bytes));
  CUtensorMap a_map, codes_map, scales_map{}, zeros_map{}, c_map{};
  BILLFISH_RETURN_IF_ERROR(encode_activations(plan, p, call, a_map));
  BILLFISH_RETURN_IF_ERROR(encode_codes(plan, *call.weights, codes_map));
  BILLFISH_RETURN_IF_ERROR(encode_scales(plan, *call.weights, scales_map, zeros_map));
  BILLFISH_RETURN_IF_ERROR(encode_output(plan, p, call, c_map));
  sm90::WgmmaArguments args = arguments_of(plan, p, call);

  cudaLaunchAttribute attributes[2];
  int count = 0;
  if (plan.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = static_cast<unsigned>(plan.cluster);
    attributes[count].val.clusterDim.y = 1;
    attributes[count].val.clusterDim.z = 1;
    ++count;
  }
  if (plan.dependent_launch) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count].val.programmaticStreamSerializationAllowed = 1;
    ++count;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(plan.blocks));
  config.blockDim = dim3(static_cast<unsigned>(plan.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(plan.shared_bytes);
  config.stream = static_cast<cudaStream_t>(call.stream);
  config.attrs = attributes;
  config.numAttrs = static_cast<unsigned>(count);
  void* parameters[] = {&a_map, &codes_map, &scales_map, &zeros_map, &c_map, &args};
  return status_of(cudaLaunchKernelExC(&config, kernel, parameters), "launching the sm90 kernel");
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
      for (int policy = 0; policy < sm90::kPolicies; ++policy) {
        for (sm90::Grain grain : {sm90::Grain::stage, sm90::Grain::pairs, sm90::Grain::steps}) {
          for (bool cluster : {false, true}) {
            const void* kernel = kernel_of(weight, a, policy, grain, cluster);
            if (kernel == nullptr) continue;
            const int bytes =
                sm90::shared_map(sm90::config_of(policy, bits_of(weight)), bits_of(weight), has_zeros(weight), grain, cluster).total;
            BILLFISH_RETURN_IF_ERROR(prepared_of(weight, a).ensure(device, kernel_index(policy, grain, cluster), kernel, bytes));
          }
        }
      }
    }
  }
  return {};
}

}  // namespace billfish::cuda::wgmma
