// SPDX-License-Identifier: Apache-2.0
//
// C++20 over billfish.h, header-only: owners for what must be freed, spans for arrays, exceptions for refusals. Nothing here is part of
// the ABI: it is compiled into the program that includes it, so it may throw, and the library still never does.
//
//   billfish::Pool pool;                                             // one thread per core
//   billfish::Checkpoint checkpoint("model");
//   billfish::PackedWeights w = checkpoint.pack("model.layers.0.mlp.up_proj", pool);
//   std::vector<float> x(w.k()), y(w.n());
//   billfish::gemm<float, float>(w, 1, x, y, pool);                  // y = x W (+ bias)
//
// Thread safety is that of the C functions: const members from any thread; one Pool serves one call at a time, others wait.
#ifndef BILLFISH_BILLFISH_HPP
#define BILLFISH_BILLFISH_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "billfish/billfish.h"

namespace billfish {

// What a refused call throws: the status, and as what() the library's message.
class Error : public std::runtime_error {
 public:
  explicit Error(billfish_status status) : std::runtime_error(billfish_last_error()), status_(status) {}
  Error(billfish_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  billfish_status status() const noexcept { return status_; }

 private:
  billfish_status status_;
};

inline void check(billfish_status status) {
  if (status != BILLFISH_OK) throw Error(status);
}

// 16-bit elements as bits, so that no particular half type is needed. Convert with your own, or with F16C and AVX512-BF16 instructions.
struct F16 {
  std::uint16_t bits;
};
struct Bf16 {
  std::uint16_t bits;
};
template <class Element>
struct ElementTypeOf;
template <>
struct ElementTypeOf<float> {
  static constexpr billfish_element_type value = BILLFISH_F32;
};
template <>
struct ElementTypeOf<F16> {
  static constexpr billfish_element_type value = BILLFISH_F16;
};
template <>
struct ElementTypeOf<Bf16> {
  static constexpr billfish_element_type value = BILLFISH_BF16;
};

// Threads for CPU work.
class Pool {
 public:
  explicit Pool(int threads = 0) {  // 0: one per core this process may use
    billfish_pool* pool = nullptr;
    check(billfish_pool_create(threads, &pool));
    pool_.reset(pool);
  }
  int threads() const noexcept { return billfish_pool_threads(pool_.get()); }
  billfish_pool* get() const noexcept { return pool_.get(); }
  billfish_parallel parallel() const noexcept {
    billfish_parallel parallel = BILLFISH_PARALLEL_INIT;
    parallel.pool = pool_.get();
    return parallel;
  }

 private:
  struct Destroy {
    void operator()(billfish_pool* pool) const noexcept { billfish_pool_destroy(pool); }
  };
  std::unique_ptr<billfish_pool, Destroy> pool_;
};

// A packed matrix in CPU memory of its own, or borrowed from a checkpoint that already holds Marlin bytes.
class PackedWeights {
 public:
  static PackedWeights pack(const billfish_matrix& matrix, const Pool& pool) {
    const billfish_parallel parallel = pool.parallel();
    return pack(matrix, &parallel);
  }
  static PackedWeights pack(const billfish_matrix& matrix, const billfish_parallel* parallel = nullptr) {
    billfish_packed_sizes sizes = BILLFISH_PACKED_SIZES_INIT;
    check(billfish_packed_sizes_of(&matrix, &sizes));
    PackedWeights packed;
    const std::int64_t parts[] = {sizes.codes, sizes.scales, sizes.zeros, sizes.perm, sizes.g_idx, sizes.bias};
    std::size_t total = 0;
    for (const std::int64_t part : parts) total += rounded(part);
    packed.memory_.reset(static_cast<std::byte*>(::operator new(total, kAlignment)));
    std::byte* next = packed.memory_.get();
    void* pointers[6];
    for (int i = 0; i < 6; ++i) {
      pointers[i] = parts[i] > 0 ? next : nullptr;
      next += rounded(parts[i]);
    }
    billfish_weights& weights = packed.weights_;
    weights.codes = pointers[0];
    weights.scales = pointers[1];
    weights.zeros = pointers[2];
    weights.perm = static_cast<std::int32_t*>(pointers[3]);
    weights.g_idx = static_cast<std::int32_t*>(pointers[4]);
    weights.bias = pointers[5];
    check(billfish_pack(&matrix, &weights, parallel, nullptr));
    packed.bytes_ = static_cast<std::int64_t>(total);
    return packed;
  }
  // In place; valid as long as what `matrix` points to.
  static PackedWeights borrow(const billfish_matrix& matrix) {
    PackedWeights packed;
    check(billfish_weights_of_matrix(&matrix, &packed.weights_));
    return packed;
  }

  const billfish_weights& get() const noexcept { return weights_; }
  const billfish_weights* operator->() const noexcept { return &weights_; }
  std::int64_t n() const noexcept { return weights_.n; }
  std::int64_t k() const noexcept { return weights_.k; }
  std::int64_t bytes() const noexcept { return bytes_; }  // of memory of its own; 0 if borrowed

  // float(scale) * (code - zero), [k, n] in original row order.
  std::vector<float> dequantize(const billfish_parallel* parallel = nullptr) const {
    std::vector<float> out(static_cast<std::size_t>(weights_.k) * static_cast<std::size_t>(weights_.n));
    check(billfish_dequantize(&weights_, out.data(), weights_.n, parallel));
    return out;
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  static std::size_t rounded(std::int64_t bytes) { return (static_cast<std::size_t>(bytes) + 63) / 64 * 64; }
  struct Free {
    void operator()(std::byte* memory) const noexcept { ::operator delete(memory, kAlignment); }
  };
  PackedWeights() = default;
  billfish_weights weights_ = BILLFISH_WEIGHTS_INIT;
  std::unique_ptr<std::byte, Free> memory_;
  std::int64_t bytes_ = 0;
};

// An open checkpoint. Matrices and names that it gives live as long as it does.
class Checkpoint {
 public:
  explicit Checkpoint(const std::string& path) {
    billfish_checkpoint* opened = nullptr;
    check(billfish_checkpoint_open(path.c_str(), &opened));
    checkpoint_.reset(opened);
  }
  const char* format() const noexcept { return billfish_checkpoint_format(checkpoint_.get()); }
  const char* why() const noexcept { return billfish_checkpoint_why(checkpoint_.get()); }
  const char* config() const noexcept { return billfish_checkpoint_config(checkpoint_.get()); }
  std::int64_t layers() const noexcept { return billfish_checkpoint_layers(checkpoint_.get()); }
  std::int64_t tensors() const noexcept { return billfish_checkpoint_tensors(checkpoint_.get()); }
  billfish_layer_info layer(std::int64_t index) const {
    billfish_layer_info info = BILLFISH_LAYER_INFO_INIT;
    check(billfish_checkpoint_layer(checkpoint_.get(), index, &info));
    return info;
  }
  billfish_tensor_info tensor(std::int64_t index) const {
    billfish_tensor_info info = BILLFISH_TENSOR_INFO_INIT;
    check(billfish_checkpoint_tensor(checkpoint_.get(), index, &info));
    return info;
  }
  std::int64_t find(const std::string& name) const {
    std::int64_t index = -1;
    check(billfish_checkpoint_find(checkpoint_.get(), name.c_str(), &index));
    return index;
  }
  billfish_matrix load(std::int64_t index) const {
    billfish_matrix matrix = BILLFISH_MATRIX_INIT;
    check(billfish_checkpoint_load(checkpoint_.get(), index, &matrix));
    return matrix;
  }
  // Packed into memory of its own; a layer that is in Marlin bytes already is borrowed from the file.
  PackedWeights pack(const std::string& name, const Pool& pool) const {
    const billfish_matrix matrix = load(find(name));
    return matrix.format == BILLFISH_FORMAT_MARLIN ? PackedWeights::borrow(matrix) : PackedWeights::pack(matrix, pool);
  }
  billfish_checkpoint* get() const noexcept { return checkpoint_.get(); }

 private:
  struct Close {
    void operator()(billfish_checkpoint* checkpoint) const noexcept { billfish_checkpoint_close(checkpoint); }
  };
  std::unique_ptr<billfish_checkpoint, Close> checkpoint_;
};

// c[m, n] = a[m, k] x weights (+ bias), dense rows, CPU memory; the spans are checked against the shape. Fill billfish_gemm_args and call
// billfish_gemm for strides, devices, streams and workspaces.
template <class A, class C>
void gemm(const billfish_weights& weights, std::int64_t m, std::span<const A> a, std::span<C> c,
          const billfish_parallel* parallel = nullptr, billfish_precision precision = BILLFISH_PRECISION_FULL) {
  const auto require = [](const char* name, std::size_t elements, std::int64_t rows, std::int64_t columns) {
    const bool fits = rows <= 0 || columns <= 0 || elements / static_cast<std::size_t>(rows) >= static_cast<std::size_t>(columns);
    if (fits) return;
    throw Error(BILLFISH_INVALID_ARGUMENT, std::string(name) + " has " + std::to_string(elements) + " elements; " + std::to_string(rows) +
                                               " x " + std::to_string(columns) + " are needed");
  };
  require("a", a.size(), m, weights.k);
  require("c", c.size(), m, weights.n);
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.m = m;
  args.a = a.data();
  args.lda = weights.k;
  args.c = c.data();
  args.ldc = weights.n;
  args.a_type = ElementTypeOf<A>::value;
  args.c_type = ElementTypeOf<C>::value;
  args.precision = precision;
  args.parallel = parallel;
  std::size_t workspace_bytes = 0;
  check(billfish_gemm_workspace(&weights, &args, &workspace_bytes));
  if (workspace_bytes > 0) {
    std::vector<std::max_align_t> workspace((workspace_bytes + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
    args.workspace = workspace.data();
    args.workspace_bytes = workspace_bytes;
    check(billfish_gemm(&weights, &args, nullptr));
    return;
  }
  check(billfish_gemm(&weights, &args, nullptr));
}
template <class A, class C>
void gemm(const PackedWeights& weights, std::int64_t m, std::span<const A> a, std::span<C> c, const Pool& pool,
          billfish_precision precision = BILLFISH_PRECISION_FULL) {
  const billfish_parallel parallel = pool.parallel();
  gemm<A, C>(weights.get(), m, a, c, &parallel, precision);
}

// Plans that `billfish tune` found, for the whole process from now on, behind those loaded before (billfish_load_plans).
inline void load_plans(const std::string& path) { check(billfish_load_plans(path.c_str())); }
// All of them, those of the environment too.
inline void forget_plans() { check(billfish_load_plans(nullptr)); }

// Who would run a problem and why; `device` as for billfish_explain. A problem that nobody can run is explained too.
inline std::string explain(const billfish_problem& problem, const char* device = nullptr, bool json = false,
                           const char* implementation = nullptr) {
  std::size_t length = 0;
  billfish_status status = billfish_explain(&problem, device, implementation, json, nullptr, 0, &length);
  if (status != BILLFISH_OK && status != BILLFISH_UNSUPPORTED) throw Error(status);
  std::string text(length + 1, '\0');
  status = billfish_explain(&problem, device, implementation, json, text.data(), text.size(), &length);
  if (status != BILLFISH_OK && status != BILLFISH_UNSUPPORTED) throw Error(status);
  text.resize(length);
  return text;
}

}  // namespace billfish

#include "billfish/billfish_timing.hpp"  // timing utilities

#endif
