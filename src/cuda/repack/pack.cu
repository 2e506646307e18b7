// SPDX-License-Identifier: Apache-2.0
// cuda::pack: which repack kernels a matrix needs, enqueued on the caller's stream. No allocation, no synchronisation and no look at the
// data: scales are not checked, and g_idx must give groups of equal size, as every GPTQ writer makes them.
// Called by api/ (billfish_pack); calls codes.cu and tables.cu.
#include "cuda/cuda.hpp"
#include "cuda/host.hpp"
#include "cuda/repack/repack.hpp"

namespace billfish::cuda {
namespace {

std::string text(std::int64_t value) { return std::to_string(value); }

Status copy_marlin(const QuantizedMatrix& source, PackedMatrix& target, cudaStream_t stream) {
  const auto copy = [&](void* to, const void* from, std::int64_t bytes) {
    if (bytes == 0 || to == from) return Status();
    return status_of(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, stream), "copying Marlin bytes");
  };
  BILLFISH_RETURN_IF_ERROR(copy(target.codes, source.codes, target.packed_code_words() * 4));
  BILLFISH_RETURN_IF_ERROR(copy(target.scales, source.scales, target.packed_scales() * bytes_of(target.scale_type)));
  BILLFISH_RETURN_IF_ERROR(copy(target.zeros, source.zeros, target.packed_zero_words() * 4));
  if (source.perm == nullptr) target.perm = nullptr;
  if (target.perm != nullptr) BILLFISH_RETURN_IF_ERROR(copy(target.perm, source.perm, source.k * 4));
  return {};
}

Status check(const QuantizedMatrix& source, const PackedMatrix& target) {
  if (source.k > 0x7fff0000 || source.n > 0x7fff0000 || source.packed_code_words() / 32 > 0x7fff0000) {
    return unsupported("n and k are " + text(source.n) + " and " + text(source.k) + "; that is beyond what one launch packs on CUDA");
  }
  if (source.format == Format::awq && (bits_of(source.type) != 4 || source.g_idx != nullptr)) {
    return unsupported("AWQ holds 4-bit codes without activation order; type is " + std::string(name_of(source.type)));
  }
  if (target.codes == nullptr || target.scales == nullptr ||
      (has_zeros(source.type) && (target.zeros == nullptr || source.zeros == nullptr))) {
    return invalid_argument("codes, scales or zeros of the packed matrix are NULL");
  }
  if (source.codes != target.codes || source.format == Format::marlin) return {};
  const bool whole = source.n % 64 == 0 && source.k % 16 == 0;
  const bool packed = source.format == Format::gptq_v1 || source.format == Format::gptq_v2 || source.format == Format::awq;
  if (!whole || !packed || source.g_idx != nullptr || source.scales == target.scales) {
    return unsupported(
        "codes are packed in place only for GPTQ and AWQ without activation order, n a multiple of 64, k of 16, and scales " +
        std::string("elsewhere; n is ") + text(source.n) + " and k is " + text(source.k));
  }
  return {};
}

}  // namespace

Status pack(const QuantizedMatrix& source, PackedMatrix& target, void* raw_stream) {
  static_cast<MatrixShape&>(target) = source;
  target.bias_type = source.bias_type;
  target.bias_permuted = false;
  target.wide_scales = false;
  if (!has_zeros(source.type)) target.zeros = nullptr;
  if (source.bias == nullptr) target.bias = nullptr;
  target.g_idx = nullptr;
  if (source.k == 0 || source.n == 0) return {};
  BILLFISH_RETURN_IF_ERROR(check(source, target));
  const DeviceGuard guard(source.device.index);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  const cudaStream_t stream = static_cast<cudaStream_t>(raw_stream);
  if (target.bias != nullptr) repack::bias(source, target, stream);
  if (source.format == Format::marlin) return copy_marlin(source, target, stream);

  if (source.g_idx == nullptr) target.perm = nullptr;
  if (source.g_idx != nullptr) {
    if (target.perm == nullptr) return invalid_argument("perm of the packed matrix is NULL; g_idx needs it");
    repack::order(source.g_idx, source.k, source.groups(), target.perm, stream);
  }
  if (target.zeros != nullptr) repack::zeros(source, target, stream);
  repack::scales(source, target, stream);
  if (source.codes != target.codes) {
    repack::codes(source, target, target.perm, stream);
    return status_of(cudaGetLastError(), "launching the repack kernels");
  }
  int limit = 0;
  BILLFISH_RETURN_IF_ERROR(status_of(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, source.device.index),
                                     "asking for the device's shared memory"));
  if (repack::in_place_bytes(target) > limit) {
    return unsupported("codes are packed in place through " + text(repack::in_place_bytes(target)) +
                       " bytes of shared memory for this n; the device has " + text(limit) + ": give other memory for the packed codes");
  }
  BILLFISH_RETURN_IF_ERROR(status_of(repack::codes_in_place(source, target, stream), "preparing to pack in place"));
  return status_of(cudaGetLastError(), "launching the repack kernels");
}

}  // namespace billfish::cuda
