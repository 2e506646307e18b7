// SPDX-License-Identifier: Apache-2.0
// cuBLAS, found and loaded at run time: the unquantised product to compare with on CUDA. Nothing links it. Called by bench_cuda.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "billfish/billfish.h"
#include "device.hpp"

namespace billfish::cli {

class Cublas {
 public:
  // Looks at BILLFISH_CUBLAS, the loader's path, CUDA_HOME, /usr/local/cuda and Python's nvidia packages. available() says whether.
  explicit Cublas(Device device);
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  bool available() const { return handle_ != nullptr; }
  const std::string& why_not() const { return why_not_; }
  const std::string& path() const { return path_; }
  int version() const { return version_; }

  // c[m,n] = a[m,k] x w[n,k]^T with f32 accumulation, all of `type` (f16 or bf16), enqueued on `stream`. False if cuBLAS says no.
  bool multiply(const void* a, const void* w, void* c, std::int64_t m, std::int64_t n, std::int64_t k, billfish_element_type type,
                void* stream) const;

 private:
  bool load(const std::string& path);
  void* library_ = nullptr;
  void* handle_ = nullptr;
  DeviceBuffer workspace_;
  std::string path_, why_not_;
  int version_ = 0;
};

}  // namespace billfish::cli
