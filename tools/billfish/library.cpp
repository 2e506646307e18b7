// SPDX-License-Identifier: Apache-2.0
#include "library.hpp"

#include <algorithm>

#include "errors.hpp"
#include "types.hpp"

namespace billfish::cli {

Buffer::Buffer(std::int64_t bytes) : bytes_(bytes) {
  if (bytes > 0) memory_.reset(::operator new (static_cast<std::size_t>(bytes), std::align_val_t{64}));
}

Pool::Pool(int threads) {
  billfish_pool* pool = nullptr;
  check(billfish_pool_create(threads, &pool));
  pool_.reset(pool);
  parallel_.pool = pool;
}

Checkpoint::Checkpoint(const std::string& path) {
  billfish_checkpoint* handle = nullptr;
  check(billfish_checkpoint_open(path.c_str(), &handle));
  handle_.reset(handle);
}

billfish_layer_info Checkpoint::layer(std::int64_t index) const {
  billfish_layer_info info = BILLFISH_LAYER_INFO_INIT;
  check(billfish_checkpoint_layer(handle_.get(), index, &info));
  return info;
}

std::int64_t Checkpoint::find(const std::string& name) const {
  std::int64_t index = 0;
  check(billfish_checkpoint_find(handle_.get(), name.c_str(), &index));
  return index;
}

billfish_matrix Checkpoint::load(std::int64_t index) const {
  const billfish_layer_info info = layer(index);
  if (info.supported == 0) fail(kUnsupported, "{}: {}", info.name, info.reason);
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
  check(billfish_checkpoint_load(handle_.get(), index, &matrix));
  return matrix;
}

billfish_tensor_info Checkpoint::tensor(std::int64_t index) const {
  billfish_tensor_info info = BILLFISH_TENSOR_INFO_INIT;
  check(billfish_checkpoint_tensor(handle_.get(), index, &info));
  return info;
}

PackedLayer::PackedLayer(const billfish_matrix& matrix, const billfish_parallel* parallel, const std::string& name) {
  check(billfish_packed_sizes_of(&matrix, &sizes_), name);
  codes_ = Buffer(sizes_.codes);
  scales_ = Buffer(sizes_.scales);
  zeros_ = Buffer(sizes_.zeros);
  perm_ = Buffer(sizes_.perm);
  g_idx_ = Buffer(sizes_.g_idx);
  bias_ = Buffer(sizes_.bias);
  weights_.codes = codes_.data();
  weights_.scales = scales_.data();
  weights_.zeros = zeros_.data();
  weights_.perm = perm_.as<std::int32_t>();
  weights_.g_idx = g_idx_.as<std::int32_t>();
  weights_.bias = bias_.data();
  check(billfish_pack(&matrix, &weights_, parallel, nullptr), name);
}

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
