// SPDX-License-Identifier: Apache-2.0
// What the tool adds to billfish.hpp: reasons in front of refusals, part sizes of packed layers. All of it is CPU memory; a device's copy
// is in device.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "billfish/billfish.hpp"

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

class Pool : public billfish::Pool {
 public:
  explicit Pool(int threads) : billfish::Pool(threads), parallel_(billfish::Pool::parallel()) {}  // 0: one a core
  const billfish_parallel* parallel() const { return &parallel_; }

 private:
  billfish_parallel parallel_;
};

class Checkpoint : public billfish::Checkpoint {
 public:
  using billfish::Checkpoint::Checkpoint;
  billfish_matrix load(std::int64_t index) const;  // Failure(kUnsupported) with the layer's reason
};

// A matrix in Marlin bytes, in memory of its own; `name` goes in front of what is wrong with it.
class PackedLayer {
 public:
  PackedLayer(const billfish_matrix& matrix, const billfish_parallel* parallel, const std::string& name);
  const billfish_weights& weights() const { return packed_.get(); }
  const billfish_packed_sizes& sizes() const { return sizes_; }
  std::int64_t bytes() const { return sizes_.codes + sizes_.scales + sizes_.zeros + sizes_.perm + sizes_.g_idx + sizes_.bias; }

 private:
  billfish_packed_sizes sizes_;
  billfish::PackedWeights packed_;
};

// Bytes that a product must read of a layer: codes, scales and zeros without padding.
std::int64_t bytes_read(const billfish_weights& weights);

std::int64_t groups_of(std::int64_t k, std::int64_t group);

}  // namespace billfish::cli
