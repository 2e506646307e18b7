// SPDX-License-Identifier: Apache-2.0
// The packer: order, then scales and zeros (which are checked, and are few), then the codes (which are most of the bytes).
#include "pack/pack.hpp"

#include <cstring>
#include <string>

#include "pack/codes.hpp"
#include "pack/order.hpp"
#include "pack/scales.hpp"

namespace billfish::pack {
namespace {

Status missing(const char* what, const std::string& of) {
  return invalid_argument(std::string(what) + " of the " + of + " matrix is null, and the matrix has some");
}

// Null only where there is nothing to read or write.
Status check_pointers(const QuantizedMatrix& source, const PackedMatrix& target, const PackedSizes& sizes) {
  const bool empty = source.n == 0 || source.k == 0;
  if (!empty && source.codes == nullptr) return missing("codes", "source");
  if (!empty && source.scales == nullptr) return missing("scales", "source");
  if (!empty && has_zeros(source.type) && source.zeros == nullptr) return missing("zeros", "source");
  if (sizes.codes > 0 && target.codes == nullptr) return missing("codes", "packed");
  if (sizes.scales > 0 && target.scales == nullptr) return missing("scales", "packed");
  if (sizes.zeros > 0 && target.zeros == nullptr) return missing("zeros", "packed");
  if (sizes.bias > 0 && target.bias == nullptr) return missing("bias", "packed");
  return {};
}

}  // namespace

Status pack_with(const TileKernels& kernels, const QuantizedMatrix& source, PackedMatrix& target, const Parallel& parallel) {
  const Result<PackedSizes> sizes = packed_sizes(source);
  if (!sizes.ok()) return sizes.status();
  BILLFISH_RETURN_IF_ERROR(check_pointers(source, target, *sizes));
  static_cast<MatrixShape&>(target) = source;
  target.wide_scales = false;
  BILLFISH_RETURN_IF_ERROR(pack_order(source, {sizes->perm > 0, sizes->g_idx > 0}, target));
  if (source.n > 0 && source.k > 0) {
    BILLFISH_RETURN_IF_ERROR(pack_scales(source, target, parallel));
    BILLFISH_RETURN_IF_ERROR(pack_zeros(source, target, parallel));
    BILLFISH_RETURN_IF_ERROR(pack_codes(source, target, kernels, parallel));
    target.wide_scales = has_wide_scales(target, parallel);
  }
  target.bias_type = source.bias_type;
  target.bias_permuted = false;
  if (sizes->bias == 0) {
    target.bias = nullptr;
  } else {
    std::memmove(target.bias, source.bias, static_cast<std::size_t>(sizes->bias));
  }
  return {};
}

Status pack(const QuantizedMatrix& source, PackedMatrix& target, const Parallel& parallel) {
  return pack_with(best_tile_kernels(), source, target, parallel);
}

}  // namespace billfish::pack
