// SPDX-License-Identifier: Apache-2.0
#include "library.hpp"

#include <algorithm>

#include "errors.hpp"
#include "types.hpp"

namespace billfish::cli {

Buffer::Buffer(std::int64_t bytes) : bytes_(bytes) {
  if (bytes > 0) memory_.reset(::operator new (static_cast<std::size_t>(bytes), std::align_val_t{64}));
}

billfish_matrix Checkpoint::load(std::int64_t index) const {
  const billfish_layer_info info = layer(index);
  if (info.supported == 0) fail(kUnsupported, "{}: {}", info.name, info.reason);
  return billfish::Checkpoint::load(index);
}

namespace {

billfish_packed_sizes sizes_of(const billfish_matrix& matrix, const std::string& name) {
  billfish_packed_sizes sizes = BILLFISH_PACKED_SIZES_INIT;
  check(billfish_packed_sizes_of(&matrix, &sizes), name);
  return sizes;
}

billfish::PackedWeights packed(const billfish_matrix& matrix, const billfish_parallel* parallel, const std::string& name) {
  try {
    return billfish::PackedWeights::pack(matrix, parallel);
  } catch (const billfish::Error& error) {
    throw Failure(exit_of(error.status()), name + ": " + error.what());
  }
}

}  // namespace

PackedLayer::PackedLayer(const billfish_matrix& matrix, const billfish_parallel* parallel, const std::string& name)
    : sizes_(sizes_of(matrix, name)), packed_(packed(matrix, parallel, name)) {}

std::int64_t groups_of(std::int64_t k, std::int64_t group) {
  const std::int64_t whole = group <= 0 || group > k ? k : group;
  return k == 0 ? 0 : (k + whole - 1) / whole;
}

std::int64_t bytes_read(const billfish_weights& weights) {
  const std::int64_t groups = groups_of(weights.k, weights.group);
  const std::int64_t bits = bits_of(weights.type);
  const std::int64_t zeros = has_zeros(weights.type) ? groups * weights.n * bits / 8 : 0;
  return weights.k * weights.n * bits / 8 + groups * weights.n * bytes_of(weights.scale_type) + zeros;
}

}  // namespace billfish::cli
