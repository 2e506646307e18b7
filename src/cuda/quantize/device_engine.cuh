// SPDX-License-Identifier: Apache-2.0
// The engine of a CUDA device. Declared here, implemented by engine.cu (memory, products, whole matrices) and engine_panels.cu.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda/host.hpp"
#include "cuda/quantize/libraries.hpp"
#include "cuda/quantize/shapes.cuh"
#include "quantize/engine.hpp"

namespace billfish::cuda::quantizing {

// What takes long to make and serves one job after another: a stream, and the libraries' handles, which allocate and compile on their own.
struct Handles {
  cudaStream_t stream = nullptr;
  void *blas = nullptr, *solver = nullptr, *params = nullptr;
};

class DeviceEngine final : public quantize::Engine {
 public:
  DeviceEngine(int device, const SolverLibraries& libraries, Handles handles) : device_(device), libraries_(libraries), handles_(handles) {}
  ~DeviceEngine() override;

  Status can_multiply() const override { return {}; }
  Status finish() override;
  std::int64_t rows_at_once(std::int64_t n, std::int64_t bytes) const override;
  std::int64_t columns_at_once() const override { return 1024; }
  std::int64_t tokens_at_once() const override { return 4096; }
  bool all_groups_at_once() const override { return true; }
  Status run(std::int64_t tasks, const std::function<Status(std::int64_t)>& task) override;

  void* allocate(std::size_t bytes) override;
  void release(void* memory) override;
  bool shares_memory() const override { return false; }
  void upload(void* to, const void* host, std::size_t bytes) override;
  void download(void* host, const void* from, std::size_t bytes) override;
  void copy_rows(void* to, std::size_t ld_to, const void* from, std::size_t ld_from, std::size_t bytes, std::int64_t rows) override;
  void fill_zero(void* at, std::size_t bytes) override;

  void multiply(Op op_a, Op op_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) override;
  void solve_unit_upper_transposed(std::int64_t n, std::int64_t m, const float* u, std::int64_t ldu, float* b, std::int64_t ldb) override;
  void add(std::int64_t count, float alpha, const float* x, float* y) override;

  void build(const quantize::BuildJob& job) override;
  bool factor_lower(std::int64_t k, float* a) override;
  void turn(std::int64_t k, float* a, float* pivots) override;

  quantize::FloatRows float_rows(const quantize::TokenBlock& block, float* space) override;
  bool needs_space(ElementType) const override { return true; }
  void add_moments(const quantize::FloatRows& x, std::int64_t tokens, std::int64_t k, float keep, float factor, float* h) override;
  void mirror(std::int64_t k, float* h) override;
  void diagonal(std::int64_t k, const float* h, float* to) override;

  void gather(const quantize::GatherJob& job) override;
  void choose(const quantize::ChooseJob& job) override;
  void encode(const quantize::CodesJob& job) override;
  void subtract(const quantize::CodesJob& job) override;
  void feed_back(const quantize::FeedBackJob& job) override;
  void improve(const quantize::ImproveJob& job) override;
  void make_steps(const quantize::ImproveJob& job, float* steps) override;
  void fit_scales(const quantize::ImproveJob& job) override;
  void take_rows(const quantize::TakeRowsJob& job) override;
  void add_dots(double alpha, const float* a, const float* b, std::int64_t columns, std::int64_t width, double* sums) override;
  void scatter_rows(void* to, const void* from, std::size_t bytes, const std::int32_t* order, std::int64_t count) override;

  bool open();  // takes its workspace; false: finish() says why

 private:
  // Remembers the first thing that failed.
  void note(cudaError_t error, const char* what);
  void note_answer(int answer, const char* what);
  template <class Kernel, class... Arguments>
  void launch(const char* what, Kernel kernel, dim3 blocks, dim3 threads, std::size_t shared_bytes, const Arguments&... arguments) {
    const DeviceGuard guard(device_);
    kernel<<<blocks, threads, shared_bytes, handles_.stream>>>(arguments...);
    note(cudaGetLastError(), what);
  }
  template <class Step>
  void take_turns(const char* what, const Step& step);

  int device_;
  const SolverLibraries& libraries_;
  Handles handles_;
  Status failed_;
  void* workspace_ = nullptr;
  std::map<void*, std::size_t> used_;         // device memory by address
  std::multimap<std::size_t, void*> unused_;  // by size: kept for the next one that wants as much
};

}  // namespace billfish::cuda::quantizing
