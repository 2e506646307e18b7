// SPDX-License-Identifier: Apache-2.0
// The same product with unquantised weights, for `demo` to compare with: the library's dense f32 product on the CPU, cuBLAS f16 on CUDA.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench_cublas.hpp"
#include "billfish/billfish_tools.h"
#include "product.hpp"

namespace billfish::cli {

class Baseline {
 public:
  Baseline(const PackedLayer& layer, const ProductOptions& options);
  // Median seconds of m rows, over weights that no cache holds; 0 where there is nothing to compare with.
  double seconds(std::int64_t m) const;
  // "f32 weights", "f16 weights by cuBLAS", or why there is none.
  std::string text() const;

 private:
  struct FreeDense {
    void operator()(billfish_dense* dense) const { billfish_tools_dense_free(dense); }
  };
  void make_on_cpu(const PackedLayer& layer);
  void make_on_cuda(const PackedLayer& layer);

  ProductOptions options_;
  std::int64_t n_, k_;
  std::vector<std::unique_ptr<billfish_dense, FreeDense>> dense_;
  std::unique_ptr<Cublas> cublas_;
  std::vector<DeviceBuffer> on_device_;  // f16 [n,k]
};

}  // namespace billfish::cli
