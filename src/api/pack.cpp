// SPDX-License-Identifier: Apache-2.0
// billfish_packed_sizes_of, billfish_pack, billfish_unpack, billfish_dequantize, billfish_weights_of_matrix: one matrix, either way.
#include "pack/pack.hpp"

#include <string>

#include "api/arguments.hpp"
#include "cuda/cuda.hpp"
#include "reference/reference.hpp"

namespace billfish::api {
namespace {

// The device writes what the header names.
constexpr bool same(int device, int header) { return device == header; }
static_assert(same(cuda::kFoundWideScales, BILLFISH_FOUND_WIDE_SCALES) && same(cuda::kFoundWideScales, BILLFISH_WEIGHTS_WIDE_SCALES));
static_assert(same(cuda::kFoundBadScale, BILLFISH_FOUND_BAD_SCALE) && same(cuda::kFoundBadZero, BILLFISH_FOUND_BAD_ZERO));
static_assert(same(cuda::kFoundBadCode, BILLFISH_FOUND_BAD_CODE) && same(cuda::kFoundBadOrder, BILLFISH_FOUND_BAD_ORDER));

// CUDA cannot read g_idx behind a device pointer without waiting for the device; so there it is never called trivial, and never uneven,
// which no CUDA kernel supports.
Result<pack::PackedSizes> sizes_of(const QuantizedMatrix& matrix) {
  if (matrix.device.kind == DeviceKind::cpu || matrix.g_idx == nullptr) return pack::packed_sizes(matrix);
  QuantizedMatrix without = matrix;
  without.g_idx = nullptr;
  Result<pack::PackedSizes> sizes = pack::packed_sizes(without);
  if (sizes.ok()) sizes->perm = matrix.k * 4;
  return sizes;
}

Status check_target(const char* member, const void* pointer, std::int64_t bytes, std::uintptr_t alignment) {
  const std::string name = std::string("out->") + member;
  if (bytes > 0 && pointer == nullptr) {
    return invalid_argument(name + " is NULL; this matrix needs " + std::to_string(bytes) +
                            " bytes there (billfish_packed_sizes_of tells)");
  }
  if (bytes > 0 && !is_aligned(pointer, alignment)) {
    return invalid_argument(name + " must be aligned to " + std::to_string(alignment) + " bytes");
  }
  return {};
}

Status pack_matrix(const billfish_matrix* given, billfish_weights* out, const billfish_parallel* given_parallel, void* stream) {
  QuantizedMatrix source;
  BILLFISH_RETURN_IF_ERROR(read_matrix(given, "matrix", Pointers::required, source));
  billfish_weights weights;
  BILLFISH_RETURN_IF_ERROR(read_struct(out, "out", weights));
  BILLFISH_RETURN_IF_ERROR(check_reserved("out->reserved", weights.reserved));
  PackedMatrix target;
  BILLFISH_RETURN_IF_ERROR(read_device("out->device_kind", "out->device_index", weights.device_kind, weights.device_index, target.device));
  if (target.device != source.device) {
    return invalid_argument("out->device_kind is " + std::to_string(raw(weights.device_kind)) + " with device_index " +
                            std::to_string(weights.device_index) + "; it must be the device of matrix, " +
                            std::string(name_of(source.device.kind)) + " " + std::to_string(source.device.index));
  }
  Parallel parallel;
  BILLFISH_RETURN_IF_ERROR(read_parallel(given_parallel, parallel));
  const Result<pack::PackedSizes> sizes = sizes_of(source);
  if (!sizes.ok()) return sizes.status();
  const bool cuda = source.device.kind == DeviceKind::cuda;
  const auto element = static_cast<std::uintptr_t>(bytes_of(source.scale_type));
  const auto bias_element = static_cast<std::uintptr_t>(bytes_of(source.bias_type));
  BILLFISH_RETURN_IF_ERROR(check_target("codes", weights.codes, sizes->codes, 16));
  BILLFISH_RETURN_IF_ERROR(check_target("scales", weights.scales, sizes->scales, cuda ? 16 : element));
  BILLFISH_RETURN_IF_ERROR(check_target("zeros", weights.zeros, sizes->zeros, cuda ? 16 : 4));
  BILLFISH_RETURN_IF_ERROR(check_target("perm", weights.perm, sizes->perm, cuda ? 16 : 4));
  BILLFISH_RETURN_IF_ERROR(check_target("g_idx", weights.g_idx, sizes->g_idx, cuda ? 16 : 4));
  BILLFISH_RETURN_IF_ERROR(check_target("bias", weights.bias, sizes->bias, cuda ? 16 : bias_element));
  // A buffer that the matrix does not need is neither written nor kept: a stale perm would gather garbage later.
  static_cast<MatrixShape&>(target) = source;
  target.codes = static_cast<std::uint32_t*>(weights.codes);
  target.scales = weights.scales;
  target.zeros = sizes->zeros > 0 ? static_cast<std::uint32_t*>(weights.zeros) : nullptr;
  target.perm = sizes->perm > 0 ? weights.perm : nullptr;
  target.g_idx = sizes->g_idx > 0 ? weights.g_idx : nullptr;
  target.bias = sizes->bias > 0 ? weights.bias : nullptr;
  if (cuda) {
    if (!is_aligned(weights.findings, 4)) return invalid_argument("out->findings must be aligned to 4 bytes");
    target.wide_scales = (weights.flags & BILLFISH_WEIGHTS_WIDE_SCALES) != 0;
    BILLFISH_RETURN_IF_ERROR(cuda::pack(source, target, weights.findings, stream));
  } else {
    BILLFISH_RETURN_IF_ERROR(pack::pack(source, target, parallel));
  }
  write_weights(target, weights);
  write_struct(weights, out);
  return {};
}

Status unpack_matrix(const billfish_weights* given, const billfish_matrix* out, const billfish_parallel* given_parallel) {
  PackedMatrix source;
  BILLFISH_RETURN_IF_ERROR(read_weights(given, Pointers::required, source));
  BILLFISH_RETURN_IF_ERROR(require_cpu("weights->device_kind", source.device));
  billfish_matrix matrix;
  BILLFISH_RETURN_IF_ERROR(read_struct(out, "out", matrix));
  if (matrix.n != 0 && matrix.n != source.n) {
    return invalid_argument("out->n is " + std::to_string(matrix.n) + "; the weights have n = " + std::to_string(source.n));
  }
  if (matrix.k != 0 && matrix.k != source.k) {
    return invalid_argument("out->k is " + std::to_string(matrix.k) + "; the weights have k = " + std::to_string(source.k));
  }
  // The shape is that of the weights, whether the caller repeated it or not.
  matrix.n = source.n;
  matrix.k = source.k;
  matrix.group = source.k == 0 ? -1 : source.group;
  matrix.type = static_cast<billfish_weight_type>(source.type);
  matrix.scale_type = static_cast<billfish_element_type>(source.scale_type);
  matrix.bias_type = static_cast<billfish_element_type>(source.bias_type);
  QuantizedMatrix target;
  BILLFISH_RETURN_IF_ERROR(read_matrix(&matrix, "out", Pointers::required, target));
  BILLFISH_RETURN_IF_ERROR(require_cpu("out->device_kind", target.device));
  if (source.perm != nullptr && target.g_idx == nullptr && target.perm == nullptr && target.format != Format::awq) {
    return invalid_argument("out->g_idx is NULL; the weights have an activation order, which this format stores there");
  }
  if (source.bias == nullptr) target.bias = nullptr;
  Parallel parallel;
  BILLFISH_RETURN_IF_ERROR(read_parallel(given_parallel, parallel));
  return pack::unpack(source, target, parallel);
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_packed_sizes_of(const billfish_matrix* matrix, billfish_packed_sizes* out) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    QuantizedMatrix source;
    BILLFISH_RETURN_IF_ERROR(api::read_matrix(matrix, "matrix", api::Pointers::ignored, source));
    BILLFISH_RETURN_IF_ERROR(api::check_size(out, "out"));
    const Result<pack::PackedSizes> sizes = api::sizes_of(source);
    if (!sizes.ok()) return sizes.status();
    const billfish_packed_sizes filled = {sizeof filled, sizes->codes, sizes->scales, sizes->zeros, sizes->perm, sizes->g_idx, sizes->bias};
    api::write_struct(filled, out);
    return {};
  });
}

billfish_status billfish_pack(const billfish_matrix* matrix, billfish_weights* out, const billfish_parallel* parallel, void* stream) {
  return billfish::api::guarded([&] { return billfish::api::pack_matrix(matrix, out, parallel, stream); });
}

billfish_status billfish_unpack(const billfish_weights* weights, const billfish_matrix* out, const billfish_parallel* parallel) {
  return billfish::api::guarded([&] { return billfish::api::unpack_matrix(weights, out, parallel); });
}

billfish_status billfish_dequantize(const billfish_weights* weights, float* out, int64_t ld, const billfish_parallel* parallel) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    PackedMatrix source;
    BILLFISH_RETURN_IF_ERROR(api::read_weights(weights, api::Pointers::required, source));
    BILLFISH_RETURN_IF_ERROR(api::require_cpu("weights->device_kind", source.device));
    Parallel workers;
    BILLFISH_RETURN_IF_ERROR(api::read_parallel(parallel, workers));
    if (source.n == 0 || source.k == 0) return {};
    if (out == nullptr) return api::null_argument("out");
    if (ld < source.n) return invalid_argument("ld is " + std::to_string(ld) + "; it must be at least n = " + std::to_string(source.n));
    reference::dequantize(source, out, ld, workers);
    return {};
  });
}

billfish_status billfish_weights_of_matrix(const billfish_matrix* matrix, billfish_weights* out) {
  using namespace billfish;
  return api::guarded([&]() -> Status {
    QuantizedMatrix source;
    BILLFISH_RETURN_IF_ERROR(api::read_matrix(matrix, "matrix", api::Pointers::required, source));
    BILLFISH_RETURN_IF_ERROR(api::check_size(out, "out"));
    if (source.format != Format::marlin) {
      return invalid_argument("matrix->format is " + std::to_string(static_cast<int>(source.format)) +
                              "; only 5 (marlin) can be borrowed, the others go through billfish_pack");
    }
    billfish_weights weights = BILLFISH_WEIGHTS_INIT;
    api::write_weights(pack::view_marlin(source), weights);
    api::write_struct(weights, out);
    return {};
  });
}

}  // extern "C"
