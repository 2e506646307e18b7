// SPDX-License-Identifier: Apache-2.0
// torch from the outside: the C functions of its stable ABI (torch >= 2.8), found in the libtorch that the process has already loaded.
// Nothing of torch is compiled in or linked, so one extension serves every torch, with CUDA or without, and none at all.
// Used by torch_operators.cpp only.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "billfish/billfish.h"

namespace billfish_python {

using StableIValue = std::uint64_t;  // an argument or result of a boxed kernel: a number, a tensor handle, or null or a pointer to one
using TensorHandle = struct TensorOpaque*;
using LibraryHandle = struct LibraryOpaque*;
using BoxedKernel = void (*)(StableIValue* stack, std::uint64_t arguments, std::uint64_t results);

// Filled once by load(); every function returns 0 on success.
struct TorchApi {
  std::int32_t (*library_init_impl)(const char* name_space, const char* key, const char* file, std::uint32_t line, LibraryHandle* out);
  std::int32_t (*library_impl)(LibraryHandle library, const char* name, BoxedKernel kernel);
  std::int32_t (*delete_tensor)(TensorHandle tensor);
  std::int32_t (*get_data_ptr)(TensorHandle tensor, void** out);
  std::int32_t (*get_dim)(TensorHandle tensor, std::int64_t* out);
  std::int32_t (*get_sizes)(TensorHandle tensor, std::int64_t** out);
  std::int32_t (*get_strides)(TensorHandle tensor, std::int64_t** out);
  std::int32_t (*get_dtype)(TensorHandle tensor, std::int32_t* out);
  std::int32_t (*get_device_type)(TensorHandle tensor, std::int32_t* out);
  std::int32_t (*get_device_index)(TensorHandle tensor, std::int32_t* out);
  std::int32_t (*empty_strided)(std::int64_t rank, const std::int64_t* sizes, const std::int64_t* strides, std::int32_t dtype,
                                std::int32_t device_type, std::int32_t device_index, TensorHandle* out);
  // C++ functions, but of plain pointers and numbers. Null where this torch does not show them: there is a slower way for each.
  struct _object* (*wrap_tensor)(TensorHandle tensor);  // THPVariable_Wrap: a new reference to a Python tensor over the same memory
  std::int64_t (*mode_stack_length)();                  // c10::impl::TorchDispatchModeTLS::stack_len, of this thread
  void** (*tracing_state)();                            // torch::jit::tracer::getTracingState: a shared_ptr, which begins with its pointer
  std::int32_t (*get_current_cuda_stream)(std::int32_t device_index, void** out);  // null without CUDA in torch
  std::int32_t f32, f16, bf16, i32, u8;                                            // dtypes
  std::int32_t cpu, cuda;                                                          // device types
  // From the libtorch in this process; says what is missing.
  void load();
  void find_shortcuts(bool use);  // the C++ functions; with false they are forgotten
};
extern TorchApi torch_api;

// What a kernel must know of a tensor. Owns the handle that the dispatcher gave it.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(TensorHandle handle);
  ~Tensor();
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor&& other) noexcept;
  // Row-major, uninitialised.
  static Tensor empty(const std::int64_t* sizes, std::int64_t rank, std::int32_t dtype, std::int32_t device_type,
                      std::int32_t device_index);
  TensorHandle release();

  void* data = nullptr;
  std::int64_t rank = 0, elements = 0;
  const std::int64_t *sizes = nullptr, *strides = nullptr;
  std::int32_t dtype = 0, device_type = 0, device_index = 0;
  bool given() const { return handle_ != nullptr; }
  bool is_cuda() const { return device_type == torch_api.cuda; }
  std::string text() const;  // "float16 [3, 4] on cuda:0"

 private:
  TensorHandle handle_ = nullptr;
};

// The arguments of one call, taken off the stack in order.
class Arguments {
 public:
  explicit Arguments(StableIValue* stack) : stack_(stack) {}
  Tensor tensor() { return Tensor(reinterpret_cast<TensorHandle>(next())); }
  Tensor optional_tensor();
  std::int64_t integer() { return static_cast<std::int64_t>(next()); }
  bool boolean() { return (next() & 0xff) != 0; }

 private:
  StableIValue next() { return stack_[index_++]; }
  StableIValue* stack_;
  int index_ = 0;
};

// Become ValueError and RuntimeError in Python; billfish/torch/operators.py makes NotImplementedError of the marked ones.
[[noreturn]] void torch_invalid(const std::string& message);
void torch_check(billfish_status status);

// billfish_gemm on the shared threads, with scratch memory that the calling thread keeps.
billfish_status multiply_on_cpu(const billfish_weights& weights, billfish_gemm_args& args);

std::string dtype_text(std::int32_t dtype);
std::optional<billfish_element_type> torch_element(std::int32_t dtype);
// Refuses another dtype, device, or a tensor with gaps.
void require_tensor(const Tensor& tensor, const char* name, std::int32_t dtype, const Tensor& same_device);
void require_packed(const Tensor& tensor, const char* name);
void require_size(const Tensor& tensor, const char* name, std::int64_t rows, std::int64_t columns);  // columns -1: one dimension

}  // namespace billfish_python
