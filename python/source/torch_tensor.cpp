// SPDX-License-Identifier: Apache-2.0
// Finding torch's C functions, and tensors seen through them.
#include "torch_tensor.hpp"

#include <dlfcn.h>

#include <cstring>
#include <stdexcept>
#include <utility>

namespace billfish_python {

TorchApi torch_api{};

void TorchApi::load() {
  // Only what is loaded already: `import torch` comes first.
  void* library = dlopen("libtorch_cpu.so", RTLD_NOLOAD | RTLD_LAZY);
  if (library == nullptr) throw std::runtime_error("libtorch_cpu.so is not loaded in this process: import torch first");
  const auto find = [library](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (function == nullptr)
      throw std::runtime_error(std::string("this torch has no ") + name + "; billfish.torch needs torch 2.8 or later");
  };
  find("aoti_torch_library_init_impl", library_init_impl);
  find("aoti_torch_library_impl", library_impl);
  find("aoti_torch_delete_tensor_object", delete_tensor);
  find("aoti_torch_get_data_ptr", get_data_ptr);
  find("aoti_torch_get_dim", get_dim);
  find("aoti_torch_get_sizes", get_sizes);
  find("aoti_torch_get_strides", get_strides);
  find("aoti_torch_get_dtype", get_dtype);
  find("aoti_torch_get_device_type", get_device_type);
  find("aoti_torch_get_device_index", get_device_index);
  find("aoti_torch_empty_strided", empty_strided);
  const auto constant = [&find](const char* name) {
    std::int32_t (*function)() = nullptr;
    find(name, function);
    return function();
  };
  f32 = constant("aoti_torch_dtype_float32");
  f16 = constant("aoti_torch_dtype_float16");
  bf16 = constant("aoti_torch_dtype_bfloat16");
  i32 = constant("aoti_torch_dtype_int32");
  u8 = constant("aoti_torch_dtype_uint8");
  cpu = constant("aoti_torch_device_type_cpu");
  cuda = constant("aoti_torch_device_type_cuda");
  find_shortcuts(true);
  if (void* with_cuda = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY)) {
    get_current_cuda_stream = reinterpret_cast<decltype(get_current_cuda_stream)>(dlsym(with_cuda, "aoti_torch_get_current_cuda_stream"));
  }
}

void TorchApi::find_shortcuts(bool use) {
  const auto find_optional = [use](const char* file, const char* name, auto& function) {
    void* loaded = use ? dlopen(file, RTLD_NOLOAD | RTLD_LAZY) : nullptr;
    function = nullptr;
    if (loaded != nullptr) function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(loaded, name));
  };
  find_optional("libtorch_python.so", "_Z16THPVariable_WrapRKN2at10TensorBaseE", wrap_tensor);
  find_optional("libc10.so", "_ZN3c104impl20TorchDispatchModeTLS9stack_lenEv", mode_stack_length);
  find_optional("libtorch_cpu.so", "_ZN5torch3jit6tracer15getTracingStateEv", tracing_state);
}

Tensor::Tensor(TensorHandle handle) : handle_(handle) {
  std::int64_t *size_list = nullptr, *stride_list = nullptr;
  const std::int32_t failed = torch_api.get_data_ptr(handle, &data) | torch_api.get_dim(handle, &rank) |
                              torch_api.get_sizes(handle, &size_list) | torch_api.get_strides(handle, &stride_list) |
                              torch_api.get_dtype(handle, &dtype) | torch_api.get_device_type(handle, &device_type) |
                              torch_api.get_device_index(handle, &device_index);
  if (failed != 0) {
    torch_api.delete_tensor(handle);
    throw std::runtime_error("billfish: torch could not describe a tensor (is it a strided one with memory?)");
  }
  sizes = size_list;
  strides = stride_list;
  elements = 1;
  for (std::int64_t i = 0; i < rank; ++i) elements *= sizes[i];
}

Tensor::~Tensor() {
  if (handle_ != nullptr) torch_api.delete_tensor(handle_);
}

Tensor::Tensor(Tensor&& other) noexcept { *this = std::move(other); }

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  std::swap(handle_, other.handle_);
  data = other.data, rank = other.rank, elements = other.elements, sizes = other.sizes, strides = other.strides;
  dtype = other.dtype, device_type = other.device_type, device_index = other.device_index;
  return *this;
}

Tensor Tensor::empty(const std::int64_t* sizes, std::int64_t rank, std::int32_t dtype, std::int32_t device_type,
                     std::int32_t device_index) {
  std::int64_t small[8];
  std::vector<std::int64_t> large;
  std::int64_t* strides = small;
  if (rank > 8) {
    large.resize(static_cast<std::size_t>(rank));
    strides = large.data();
  }
  std::int64_t stride = 1;
  for (std::int64_t i = rank; i-- > 0;) {
    strides[i] = stride;
    stride *= sizes[i] > 0 ? sizes[i] : 1;
  }
  TensorHandle handle = nullptr;
  if (torch_api.empty_strided(rank, sizes, strides, dtype, device_type, device_index, &handle) != 0) {
    throw std::runtime_error("billfish: torch could not allocate a tensor of " + std::to_string(stride) + " elements");
  }
  return Tensor(handle);
}

TensorHandle Tensor::release() { return std::exchange(handle_, nullptr); }

std::string Tensor::text() const {
  std::string out = dtype_text(dtype) + " [";
  for (std::int64_t i = 0; i < rank; ++i) out += (i ? ", " : "") + std::to_string(sizes[i]);
  return out + "] on " + (is_cuda() ? "cuda:" + std::to_string(device_index) : device_type == torch_api.cpu ? "cpu" : "another device");
}

Tensor Arguments::optional_tensor() {
  const StableIValue value = next();
  if (value == 0) return Tensor();
  auto* boxed = reinterpret_cast<StableIValue*>(value);  // made with new by torch, ours to delete
  const StableIValue handle = *boxed;
  delete boxed;
  Tensor tensor(reinterpret_cast<TensorHandle>(handle));
  return tensor.elements == 0 ? Tensor() : std::move(tensor);  // callers of Marlin pass empty tensors for none
}

void torch_invalid(const std::string& message) { throw std::invalid_argument("billfish: " + message); }

void torch_check(billfish_status status) {
  if (status == BILLFISH_OK) return;
  const std::string message = std::string("billfish: ") + billfish_last_error();
  switch (status) {
    case BILLFISH_INVALID_ARGUMENT:
    case BILLFISH_BAD_INPUT: throw std::invalid_argument(message);
    case BILLFISH_OUT_OF_MEMORY: throw std::bad_alloc();
    case BILLFISH_UNSUPPORTED: throw std::runtime_error("[not implemented] " + message);
    default: throw std::runtime_error(message);
  }
}

std::string dtype_text(std::int32_t dtype) {
  if (dtype == torch_api.f32) return "float32";
  if (dtype == torch_api.f16) return "float16";
  if (dtype == torch_api.bf16) return "bfloat16";
  if (dtype == torch_api.i32) return "int32";
  if (dtype == torch_api.u8) return "uint8";
  return "dtype number " + std::to_string(dtype);
}

std::optional<billfish_element_type> torch_element(std::int32_t dtype) {
  if (dtype == torch_api.f32) return BILLFISH_F32;
  if (dtype == torch_api.f16) return BILLFISH_F16;
  if (dtype == torch_api.bf16) return BILLFISH_BF16;
  return std::nullopt;
}

void require_packed(const Tensor& tensor, const char* name) {
  std::int64_t expected = 1;
  for (std::int64_t i = tensor.rank; i-- > 0;) {
    if (tensor.sizes[i] != 1 && tensor.strides[i] != expected) {
      torch_invalid(std::string(name) + " has a stride of " + std::to_string(tensor.strides[i]) + " in dimension " + std::to_string(i) +
                    "; it must be contiguous");
    }
    expected *= tensor.sizes[i];
  }
}

void require_tensor(const Tensor& tensor, const char* name, std::int32_t dtype, const Tensor& same_device) {
  if (tensor.dtype != dtype) torch_invalid(std::string(name) + " is " + tensor.text() + "; it must be " + dtype_text(dtype));
  if (tensor.device_type != same_device.device_type || tensor.device_index != same_device.device_index) {
    torch_invalid(std::string(name) + " is " + tensor.text() + "; it must be on the device of a, " + same_device.text());
  }
  require_packed(tensor, name);
}

void require_size(const Tensor& tensor, const char* name, std::int64_t rows, std::int64_t columns) {
  const bool fits =
      columns < 0 ? tensor.rank == 1 && tensor.sizes[0] == rows : tensor.rank == 2 && tensor.sizes[0] == rows && tensor.sizes[1] == columns;
  if (fits) return;
  const std::string wanted =
      columns < 0 ? "[" + std::to_string(rows) + "]" : "[" + std::to_string(rows) + ", " + std::to_string(columns) + "]";
  torch_invalid(std::string(name) + " is " + tensor.text() + "; its shape must be " + wanted);
}

}  // namespace billfish_python
