// SPDX-License-Identifier: Apache-2.0
// What the GPU tests share: device memory with guard bytes, random packed matrices, a product with every buffer guarded and poisoned, and
// its comparison with the reference. Called by *_gpu_test.cpp and *_test.cu; implemented by support_gpu_test.cpp.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "billfish/billfish.h"
#include "core/matrix.hpp"
#include "gemm/registry.hpp"
#include "reference/reference.hpp"

namespace billfish::cuda_test {

// Fails the test with the runtime's words.
void require(cudaError_t error, const char* what);

// Device memory between two guards of 256 bytes that nobody may write. Contents begin as 0xff bytes: NaN in every float type.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes, std::size_t shift = 0);  // `shift` bytes off a 256-byte boundary
  ~Buffer();
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  template <class T>
  explicit Buffer(const std::vector<T>& host, std::size_t shift = 0) : Buffer(host.size() * sizeof(T), shift) {
    upload(host.data());
  }
  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }
  void upload(const void* host);
  void poison();  // contents 0xff again
  template <class T>
  std::vector<T> download() const {
    std::vector<T> host(bytes_ / sizeof(T));
    download_to(host.data());
    return host;
  }
  void download_to(void* host) const;
  bool guards_intact() const;

 private:
  unsigned char* base_ = nullptr;
  unsigned char* data_ = nullptr;
  std::size_t bytes_ = 0, shift_ = 0;
};

// Fast enough to fill hundreds of megabytes.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1dull;
  }
  std::int64_t below(std::int64_t limit) { return static_cast<std::int64_t>((next() >> 11) % static_cast<std::uint64_t>(limit)); }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(next() >> 40) * 0x1p-24f; }

 private:
  std::uint64_t state_;
};

struct MatrixOptions {
  WeightType type = WeightType::u4b8;
  ElementType scale_type = ElementType::f16;
  std::int64_t n = 64, k = 128, group = 128;
  bool act_order = false, bias = false, bias_permuted = false;
  ElementType bias_type = ElementType::f16;
  bool exact = false;  // scales are powers of two
  std::uint64_t seed = 1;
};

// A packed matrix on the device and the same on the host. Padding as the packer leaves it: codes at the zero point, scales 0.
struct Matrix {
  std::vector<std::uint32_t> host_codes, host_zeros;
  std::vector<std::uint16_t> host_scales, host_bias;
  std::vector<std::int32_t> host_perm;
  Buffer codes, zeros, scales, perm, bias;
  PackedMatrix on_host, on_device;
  bool guards_intact() const;
};
Matrix make_matrix(const MatrixOptions& options);
billfish_weights weights_of(const Matrix& matrix);  // on the device, for the C ABI

struct ProductOptions {
  const char* implementation = "sm80";
  std::int64_t m = 1;
  ElementType a = ElementType::f16, c = ElementType::f16;
  std::int64_t extra_lda = 0, extra_ldc = 0;  // strides beyond k and n
  std::size_t shift_a = 0, shift_c = 0;       // bytes off alignment
  bool batch_invariant = false, dependent_launch = false;
  bool no_workspace = false, zeroed_workspace = false;
  bool exact = false;  // activations are small integers
  std::uint64_t seed = 2;
};

// A product with its operands, ready to be run any number of times.
struct Product {
  const Matrix* matrix = nullptr;
  ProductOptions options;
  std::vector<std::uint16_t> host_a;
  Buffer a, c, workspace;
  gemm::Problem problem;
  gemm::Plan plan;
  gemm::Call call;
  std::string refusal;  // not empty: the implementation cannot run it, and nothing else is set
};
Product make_product(const Matrix& matrix, const ProductOptions& options);
// Of a workspace of zeros: bytes from its begin that are zeros between launches. Behind them lies what calls leave for themselves.
std::size_t zero_bytes(const Product& product);
void clear_workspace(Product& product);  // those bytes
// Another plan of its problem, with a buffer of its own size, so that what is written behind it is noticed.
void take_plan(Product& product, const gemm::Plan& plan);

Status run(Product& product, cudaStream_t stream = nullptr);
void run_and_wait(Product& product, const char* what);

// Runs it on poisoned memory and checks: within the bound everywhere, nothing written outside of C's rows and of the workspace. Returns
// the community's metric, mean |C - ref| / mean |ref|.
double expect_right(Product& product, const char* what);
// Bytes of C, rows tightly packed.
std::vector<unsigned char> output_of(const Product& product);
// Those of another run, on poison.
std::vector<unsigned char> bits_of(Product& product, const char* what);

// Facts of device 0.
const gemm::DeviceFacts& device();
bool runs_here(const char* implementation);

}  // namespace billfish::cuda_test
