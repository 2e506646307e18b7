// SPDX-License-Identifier: Apache-2.0
// One layer on a CUDA device as a benchmark needs it: copies of random packed weights that no cache holds, their f16 counterparts for
// cuBLAS, activations, an output, and the double-precision product to check against. Everything is made on the device. Called by
// bench_cuda.cpp and tune_cuda.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench_cublas.hpp"
#include "bench_problem.hpp"
#include "bench_report.hpp"

namespace billfish::cli {

class CudaLayer {
 public:
  CudaLayer(const BenchOptions& options, const BenchShape& shape, std::int64_t most_m, bool with_dense);
  CudaLayer(const CudaLayer&) = delete;
  CudaLayer& operator=(const CudaLayer&) = delete;

  std::int64_t copies() const { return static_cast<std::int64_t>(weights_.size()); }
  std::int64_t dense_copies() const { return static_cast<std::int64_t>(dense_.size()); }
  const billfish_weights& weights(std::int64_t copy) const { return weights_[static_cast<std::size_t>(copy)]; }
  const void* dense(std::int64_t copy) const { return dense_[static_cast<std::size_t>(copy)]; }
  void* a() const { return a_.data(); }
  void* c() const { return c_.data(); }
  std::int64_t weight_bytes() const;  // that one product must read

  // Ready to run: the workspace is this layer's, large enough for any m it was made for.
  billfish_gemm_args args(std::int64_t m, bool dependent, const std::string& implementation);
  // Runs copy 0 on poisoned memory and compares: every element up to `whole` rows, else 4,096 spread over all rows and columns.
  static constexpr std::int64_t kCheckedWhole = 256;
  void check_product(const billfish_gemm_args& args, BenchRow& row, std::int64_t whole = kCheckedWhole);

 private:
  void make_weights(bool on_host);
  void prepare_reference(std::int64_t rows);
  static void compare(const std::vector<float>& c, const std::vector<double>& y, const std::vector<double>& bound, BenchRow& row);

  const BenchOptions& options_;
  BenchShape shape_;
  std::int64_t most_m_;
  std::vector<billfish_weights> weights_;
  std::vector<void*> dense_;
  DeviceBuffer codes_, scales_, zeros_, perm_, dense_memory_, a_, c_, workspace_, zeroed_workspace_;
  std::string implementation_;  // that the last args() named
  DeviceBuffer exact_;          // f32 [n,k] of copy 0
  std::vector<double> y_, magnitude_, bound_;
  std::string bound_of_;  // the plan and m that bound_ is for
  std::int64_t reference_rows_ = 0;
};

}  // namespace billfish::cli
