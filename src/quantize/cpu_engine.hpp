// SPDX-License-Identifier: Apache-2.0
// Quantising on the CPU: LAPACK for products (linear_algebra.hpp), vectors for the rest (lanes.hpp), tasks of 128 rows for the threads.
// Results do not depend on how many there are: work is cut by shape alone. Made by quantize.cpp.
#pragma once

#include <optional>

#include "core/threads.hpp"
#include "quantize/engine.hpp"
#include "quantize/linear_algebra.hpp"

namespace billfish::quantize {

class CpuEngine final : public Engine {
 public:
  explicit CpuEngine(const Parallel& parallel);

  Status can_multiply() const override { return missing_; }
  Status finish() override { return {}; }
  std::int64_t rows_at_once(std::int64_t, std::int64_t) const override { return 128; }
  std::int64_t columns_at_once() const override { return kMostWidth; }
  std::int64_t tokens_at_once() const override { return 512; }  // converted ones stay in the last cache
  bool all_groups_at_once() const override { return false; }
  Status run(std::int64_t tasks, const std::function<Status(std::int64_t)>& task) override;

  void* allocate(std::size_t bytes) override;
  void release(void* memory) override;
  bool shares_memory() const override { return true; }
  void upload(void* to, const void* host, std::size_t bytes) override;
  void download(void* host, const void* from, std::size_t bytes) override;
  void copy_rows(void* to, std::size_t ld_to, const void* from, std::size_t ld_from, std::size_t bytes, std::int64_t rows) override;
  void fill_zero(void* at, std::size_t bytes) override;

  void multiply(Op op_a, Op op_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) override;
  void solve_unit_upper_transposed(std::int64_t n, std::int64_t m, const float* u, std::int64_t ldu, float* b, std::int64_t ldb) override;
  void add(std::int64_t count, float alpha, const float* x, float* y) override;

  void build(const BuildJob& job) override;
  bool factor_lower(std::int64_t k, float* a) override;
  void turn(std::int64_t k, float* a, float* pivots) override;

  FloatRows float_rows(const TokenBlock& block, float* space) override;
  bool needs_space(ElementType type) const override { return type != ElementType::f32; }
  void add_moments(const FloatRows& x, std::int64_t tokens, std::int64_t k, float keep, float factor, float* h) override;
  void mirror(std::int64_t k, float* h) override;
  void diagonal(std::int64_t k, const float* h, float* to) override;

  void gather(const GatherJob& job) override;
  void choose(const ChooseJob& job) override;
  void encode(const CodesJob& job) override;
  void subtract(const CodesJob& job) override;
  void feed_back(const FeedBackJob& job) override;
  void improve(const ImproveJob& job) override;
  void make_steps(const ImproveJob& job, float* steps) override;
  void fit_scales(const ImproveJob& job) override;
  void take_rows(const TakeRowsJob& job) override;
  void add_dots(double alpha, const float* a, const float* b, std::int64_t columns, std::int64_t width, double* sums) override;
  void scatter_rows(void* to, const void* from, std::size_t bytes, const std::int32_t* order, std::int64_t count) override;

 private:
  Parallel parallel_;
  const LinearAlgebra* algebra_ = nullptr;
  Status missing_;
  const LaneKernels& kernels_;
  std::optional<LinearAlgebra::OneThread> alone_;
};

}  // namespace billfish::quantize
