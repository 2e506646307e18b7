// SPDX-License-Identifier: Apache-2.0
// cuda::pack: which repack kernels a matrix needs, enqueued on the caller's stream. No allocation, no synchronisation and so no look at the
// data on the host: what the CPU packer refuses in data, kernels report into the caller's word of findings.
// Called by api/ (billfish_pack); calls codes.cu and tables.cu.
#include "cuda/cuda.hpp"
#include "cuda/host.hpp"
#include "cuda/repack/repack.hpp"

namespace billfish::cuda {
namespace {

std::string text(std::int64_t value) { return std::to_string(value); }

// Marlin bytes of any packer: whole tiles are copied, at ragged edges every word gets our padding.
Status pack_marlin(const QuantizedMatrix& source, PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream) {
  const auto copy = [&](void* to, const void* from, std::int64_t bytes) {
    if (bytes == 0 || to == from) return Status();
    return status_of(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, stream), "copying Marlin bytes");
  };
  if (source.n % 64 == 0 && source.k % 16 == 0) {
    BILLFISH_RETURN_IF_ERROR(copy(target.codes, source.codes, target.packed_code_words() * 4));
  } else {
    repack::codes(source, target, nullptr, findings, stream);
  }
  repack::tables(source, target, findings, stream);
  return copy(target.perm, source.perm, source.perm == nullptr ? 0 : source.k * 4);
}

Status check(const QuantizedMatrix& source, const PackedMatrix& target) {
  if (source.k > 0x7fff0000 || source.n > 0x7fff0000 || source.packed_code_words() / 32 > 0x7fff0000) {
    return unsupported("n and k are " + text(source.n) + " and " + text(source.k) + "; that is beyond what one launch packs on CUDA");
  }
  if (source.format == Format::awq && (bits_of(source.type) != 4 || source.g_idx != nullptr)) {
    return unsupported("AWQ holds 4-bit codes without activation order; type is " + std::string(name_of(source.type)));
  }
  if (source.k == 0 || source.n == 0) return {};
  if (target.codes == nullptr || target.scales == nullptr ||
      (has_zeros(source.type) && (target.zeros == nullptr || source.zeros == nullptr))) {
    return invalid_argument("codes, scales or zeros of the packed matrix are NULL");
  }
  if (target.perm == nullptr && (source.format == Format::marlin ? source.perm : source.g_idx) != nullptr) {
    return invalid_argument("perm of the packed matrix is NULL; an activation order needs " + text(source.k * 4) + " bytes there");
  }
  if (source.format == Format::marlin && source.g_idx != nullptr) {
    return unsupported(
        "g_idx of packed weights is not NULL; groups of uneven size are not supported on CUDA, and even ones (row k' in group k' / group) "
        "need no g_idx");
  }
  if (source.format == Format::marlin) return {};
  if (source.scales == target.scales || (target.zeros != nullptr && source.zeros == target.zeros)) {
    return unsupported("scales and zeros are not packed in place on CUDA: give other memory for the packed ones");
  }
  if (source.codes != target.codes) return {};
  const bool whole = source.n % 64 == 0 && source.k % 16 == 0;
  const bool packed = source.format == Format::gptq_v1 || source.format == Format::gptq_v2 || source.format == Format::awq;
  if (!whole || !packed || source.g_idx != nullptr) {
    return unsupported("codes are packed in place only for GPTQ and AWQ without activation order, n a multiple of 64 and k of 16; n is " +
                       text(source.n) + " and k is " + text(source.k));
  }
  return {};
}

Status pack_in_place(const QuantizedMatrix& source, const PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream) {
  int limit = 0;
  BILLFISH_RETURN_IF_ERROR(status_of(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, source.device.index),
                                     "asking for the device's shared memory"));
  if (repack::in_place_bytes(target) > limit) {
    return unsupported("codes are packed in place through " + text(repack::in_place_bytes(target)) +
                       " bytes of shared memory for this n; the device has " + text(limit) + ": give other memory for the packed codes");
  }
  repack::tables(source, target, findings, stream);
  return status_of(repack::codes_in_place(source, target, stream), "preparing to pack in place");
}

Status enqueue(const QuantizedMatrix& source, PackedMatrix& target, std::uint32_t* findings, cudaStream_t stream) {
  if (findings != nullptr) {
    BILLFISH_RETURN_IF_ERROR(status_of(cudaMemsetAsync(findings, 0, sizeof *findings, stream), "clearing the findings"));
  }
  if (source.format == Format::marlin) return pack_marlin(source, target, findings, stream);
  if (source.codes == target.codes) return pack_in_place(source, target, findings, stream);
  if (repack::has_strips(source)) {
    repack::strips(source, target, findings, stream);
    return {};
  }
  repack::tables(source, target, findings, stream);
  if (target.perm != nullptr) repack::order(source, target, findings, stream);
  repack::codes(source, target, target.perm, findings, stream);
  return {};
}

}  // namespace

Status pack(const QuantizedMatrix& source, PackedMatrix& target, std::uint32_t* findings, void* stream) {
  static_cast<MatrixShape&>(target) = source;
  target.bias_type = source.bias_type;
  target.bias_permuted = false;
  if (!has_zeros(source.type)) target.zeros = nullptr;
  if (source.bias == nullptr) target.bias = nullptr;
  if (source.format == Format::marlin ? source.perm == nullptr : source.g_idx == nullptr) target.perm = nullptr;
  target.g_idx = nullptr;
  BILLFISH_RETURN_IF_ERROR(check(source, target));
  const DeviceGuard guard(source.device.index);
  BILLFISH_RETURN_IF_ERROR(guard.status());
  BILLFISH_RETURN_IF_ERROR(enqueue(source, target, findings, static_cast<cudaStream_t>(stream)));
  return status_of(cudaGetLastError(), "launching the repack kernels");
}

}  // namespace billfish::cuda
