// SPDX-License-Identifier: Apache-2.0
// The way back, code for code, into whatever format can hold the matrix.
#include <string>

#include "core/half.hpp"
#include "layout/marlin_scales.hpp"
#include "pack/codes.hpp"
#include "pack/order.hpp"
#include "pack/pack.hpp"
#include "pack/scales.hpp"

namespace billfish::pack {
namespace {

Status check_target(const PackedMatrix& source, const QuantizedMatrix& target) {
  BILLFISH_RETURN_IF_ERROR(check_shape(source, target.format));
  if (!(static_cast<const MatrixShape&>(target) == static_cast<const MatrixShape&>(source))) {
    return invalid_argument("the target's shape, type, group or scale type is not that of the packed matrix (n = " +
                            std::to_string(source.n) + ", k = " + std::to_string(source.k) + ", group = " + std::to_string(source.group) +
                            ", type " + std::string(name_of(source.type)) + ")");
  }
  if (target.format == Format::awq && (source.perm != nullptr || source.g_idx != nullptr)) {
    return unsupported("AWQ cannot hold an activation order; unpack to gptq or compressed-tensors instead");
  }
  if (source.n == 0 || source.k == 0) return {};
  if (target.codes == nullptr) return invalid_argument("codes of the target is null");
  if (target.scales == nullptr) return invalid_argument("scales of the target is null");
  if (has_zeros(source.type) && target.zeros == nullptr) {
    return invalid_argument("zeros of the target is null; type " + std::string(name_of(source.type)) + " stores them");
  }
  if (has_zeros(source.type) && source.zeros == nullptr) {
    return invalid_argument("zeros of the packed matrix is null; type " + std::string(name_of(source.type)) + " stores them");
  }
  return {};
}

}  // namespace

Status unpack_with(const TileKernels& kernels, const PackedMatrix& source, const QuantizedMatrix& target, const Parallel& parallel) {
  BILLFISH_RETURN_IF_ERROR(check_target(source, target));
  BILLFISH_RETURN_IF_ERROR(unpack_order(source, target));
  if (source.n > 0 && source.k > 0) {
    unpack_scales(source, target, parallel);
    unpack_zeros(source, target, parallel);
    BILLFISH_RETURN_IF_ERROR(unpack_codes(source, target, kernels, parallel));
  }
  if (source.bias == nullptr || target.bias == nullptr) return {};
  for (std::int64_t n = 0; n < source.n; ++n) {
    const std::int64_t at = source.bias_permuted ? layout::marlin_column_scale(n) : n;
    store_element(const_cast<void*>(target.bias), target.bias_type, n, load_element(source.bias, source.bias_type, at));
  }
  return {};
}

Status unpack(const PackedMatrix& source, const QuantizedMatrix& target, const Parallel& parallel) {
  return unpack_with(best_tile_kernels(), source, target, parallel);
}

}  // namespace billfish::pack
