// SPDX-License-Identifier: Apache-2.0
// One layer's product, run through the stable ABI on any device and held against the oracle. Called by matmul, verify, check, demo.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device.hpp"
#include "library.hpp"

namespace billfish::cli {

struct ProductOptions {
  Device device;
  std::string implementation;  // "": the best one
  billfish_precision precision = BILLFISH_PRECISION_FULL;
  billfish_element_type a_type = BILLFISH_F16;
  billfish_element_type c_type = BILLFISH_F32;
  bool bias = true;
  const billfish_parallel* parallel = nullptr;
};

// Everything but the pointers to activations, outputs and workspace. Borrows from `options`.
billfish_gemm_args gemm_arguments(const ProductOptions& options, std::int64_t m, std::int64_t n, std::int64_t k);

class Product {
 public:
  Product(const PackedLayer& layer, const ProductOptions& options);
  // c[m,n] = a[m,k] x weights (+ bias), both host memory without gaps between rows. c is poisoned first: what is not written is NaN.
  void run(const void* a, std::int64_t m, void* c);

 private:
  const PackedLayer& layer_;
  ProductOptions options_;
  std::unique_ptr<DeviceWeights> on_device_;  // null on the CPU, which multiplies the layer's own memory
};

// Nearly normal, variance 1.
std::vector<std::byte> random_activations(std::int64_t m, std::int64_t k, billfish_element_type type, std::uint64_t seed);

// How far c is from the oracle. The worst element is the one with the largest error for its bound.
struct Comparison {
  bool passed = true;
  std::int64_t row = 0, column = 0;  // of the worst element
  double value = 0, expected = 0;    // there
  double error = 0, bound = 0;       // there, absolute; the bound for random activations
  double certain_bound = 0;          // there; the bound whatever the activations are
  double relative_error = 0;         // sqrt(sum of squared errors / sum of squares), over all elements
  double largest = 0;                // the largest absolute output
};
// Columns [n0, n1) of c[m,n]; the bound is that of the implementation which `options` chooses. `a` must be random_activations: the bound
// rests on their random signs.
Comparison compare_with_oracle(const PackedLayer& layer, const ProductOptions& options, const void* a, std::int64_t m, const void* c,
                               std::int64_t n0, std::int64_t n1);

}  // namespace billfish::cli
