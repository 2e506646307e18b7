// SPDX-License-Identifier: Apache-2.0
// The library's handles and borrowed memory as objects that free themselves and throw Failure. All of it is CPU memory; a device's
// copy is in device.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "billfish/billfish.h"

namespace billfish::cli {

// Memory aligned as the library wants it; its contents are not initialised.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t bytes);
  void* data() const { return memory_.get(); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(memory_.get());
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(void* memory) const { ::operator delete (memory, std::align_val_t{64}); }
  };
  std::unique_ptr<void, Free> memory_;
  std::int64_t bytes_ = 0;
};

class Pool {
 public:
  explicit Pool(int threads);  // 0: one a core
  const billfish_parallel* parallel() const { return &parallel_; }
  int threads() const { return billfish_pool_threads(pool_.get()); }

 private:
  struct Destroy {
    void operator()(billfish_pool* pool) const { billfish_pool_destroy(pool); }
  };
  std::unique_ptr<billfish_pool, Destroy> pool_;
  billfish_parallel parallel_ = BILLFISH_PARALLEL_INIT;
};

class Checkpoint {
 public:
  explicit Checkpoint(const std::string& path);
  const billfish_checkpoint* handle() const { return handle_.get(); }
  std::int64_t layers() const { return billfish_checkpoint_layers(handle_.get()); }
  billfish_layer_info layer(std::int64_t index) const;
  std::int64_t find(const std::string& name) const;  // Failure(kBadInput) with the nearest names
  billfish_matrix load(std::int64_t index) const;    // Failure(kUnsupported) with the layer's reason
  std::int64_t tensors() const { return billfish_checkpoint_tensors(handle_.get()); }
  billfish_tensor_info tensor(std::int64_t index) const;

 private:
  struct Close {
    void operator()(billfish_checkpoint* checkpoint) const { billfish_checkpoint_close(checkpoint); }
  };
  std::unique_ptr<billfish_checkpoint, Close> handle_;
};

// A matrix in Marlin bytes, in memory of its own.
class PackedLayer {
 public:
  PackedLayer(const billfish_matrix& matrix, const billfish_parallel* parallel, const std::string& name);
  PackedLayer(const PackedLayer&) = delete;
  PackedLayer& operator=(const PackedLayer&) = delete;
  PackedLayer(PackedLayer&&) = default;
  const billfish_weights& weights() const { return weights_; }
  const billfish_packed_sizes& sizes() const { return sizes_; }
  std::int64_t bytes() const { return sizes_.codes + sizes_.scales + sizes_.zeros + sizes_.perm + sizes_.g_idx + sizes_.bias; }

 private:
  billfish_packed_sizes sizes_ = BILLFISH_PACKED_SIZES_INIT;
  billfish_weights weights_ = BILLFISH_WEIGHTS_INIT;
  Buffer codes_, scales_, zeros_, perm_, g_idx_, bias_;
};

// Bytes that a product must read of a layer: codes, scales and zeros without padding.
std::int64_t bytes_read(const billfish_weights& weights);

std::int64_t groups_of(std::int64_t k, std::int64_t group);

}  // namespace billfish::cli
