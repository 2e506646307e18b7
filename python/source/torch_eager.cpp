// SPDX-License-Identifier: Apache-2.0
// The short way of an eager call: a QuantLinear's weights described once, then x in and y out without the dispatcher, whose argument
// conversions cost more than the launch. x comes through the C functions of DLPack's exchange protocol (torch 2.10 and later; torch.Tensor
// has them as __dlpack_c_exchange_api__), y is torch's own allocation, made a Python object by torch's own function for that; where a torch
// does not show it, as torch's ahead-of-time runtime hands tensors over.
//
// Whatever is unusual (another type than torch.Tensor, another device, gaps, a wrong width, someone listening) gives None, and the caller
// (billfish/torch/modules.py) goes through the operator, which knows every case and words every refusal.
#include <algorithm>

#include "common.hpp"
#include "torch_tensor.hpp"
#include "torch_zeros.hpp"

namespace billfish_python {
namespace {

using DlTensor = nb::dlpack::dltensor;

// The table that torch.Tensor carries. Only what we call is typed; the order is the protocol's.
struct ExchangeApi {
  std::uint32_t major, minor;
  ExchangeApi* previous;
  void* allocate;
  void* managed_from_object;
  void* managed_to_object;
  int (*tensor_from_object)(void* object, DlTensor* out);  // borrowed: valid while the object is
  int (*current_stream)(std::int32_t device_type, std::int32_t device_index, void** out);
};
constexpr std::uint32_t kExchangeMajor = 1;
constexpr double kQuick = 1 << 16;  // codes times rows: a CPU product of microseconds, for which the GIL is kept

class EagerWeights {
 public:
  // Pointers and sizes of tensors that the caller keeps alive and has checked by one call of the operator.
  // `watchers`: functions that give something true while torch wants to see every operator (dispatch modes, tracing).
  EagerWeights(const nb::object& tensor_type, const nb::object& wrap_list, const nb::object& exchange, const nb::tuple& watchers,
               const nb::dict& fields)
      : tensor_type_(tensor_type), wrap_list_(wrap_list), watchers_(watchers) {
    api_ = static_cast<const ExchangeApi*>(PyCapsule_GetPointer(exchange.ptr(), "dlpack_exchange_api"));
    if (api_ == nullptr) throw nb::python_error();
    if (api_->major != kExchangeMajor || api_->tensor_from_object == nullptr || api_->current_stream == nullptr) {
      throw std::runtime_error("this torch speaks another version of DLPack's exchange protocol");
    }
    const auto number = [&fields](const char* name) { return nb::cast<std::int64_t>(fields[name]); };
    const auto pointer = [&fields](const char* name) { return reinterpret_cast<void*>(nb::cast<std::uintptr_t>(fields[name])); };
    weights_.type = static_cast<billfish_weight_type>(number("type"));
    weights_.scale_type = static_cast<billfish_element_type>(number("scale_type"));
    weights_.bias_type = static_cast<billfish_element_type>(number("bias_type"));
    weights_.n = number("n");
    weights_.k = number("k");
    weights_.group = number("group");
    weights_.flags = static_cast<std::uint32_t>(number("flags"));
    weights_.codes = pointer("codes");
    weights_.scales = pointer("scales");
    weights_.zeros = pointer("zeros");
    weights_.g_idx = static_cast<std::int32_t*>(pointer("g_idx"));
    weights_.perm = static_cast<std::int32_t*>(pointer("perm"));
    weights_.bias = pointer("bias");
    precision_ = static_cast<billfish_precision>(number("precision"));
    quick_rows_ = static_cast<std::int64_t>(kQuick / std::max(1.0, static_cast<double>(weights_.k) * static_cast<double>(weights_.n)));
    const std::int64_t device = number("device");  // -1: the cpu
    weights_.device_kind = device < 0 ? BILLFISH_CPU : BILLFISH_CUDA;
    weights_.device_index = device < 0 ? 0 : static_cast<int>(device);
  }

  // y, or None for the operator's way.
  nb::object call(nb::handle x) const {
    if (reinterpret_cast<PyObject*>(Py_TYPE(x.ptr())) != tensor_type_.ptr() || watched()) return nb::none();
    DlTensor a{};
    if (api_->tensor_from_object(x.ptr(), &a) != 0) {
      PyErr_Clear();
      return nb::none();
    }
    const bool cuda = weights_.device_kind == BILLFISH_CUDA;
    if (a.device.device_type != (cuda ? nb::device::cuda::value : nb::device::cpu::value) ||
        (cuda && a.device.device_id != weights_.device_index) || a.ndim < 1 || a.ndim > kMaxRank || a.shape[a.ndim - 1] != weights_.k) {
      return nb::none();
    }
    billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
    std::int32_t dtype = 0;
    if (a.dtype == nb::dlpack::dtype{2, 16, 1}) {
      args.a_type = BILLFISH_F16, dtype = torch_api.f16;
    } else if (a.dtype == nb::dlpack::dtype{4, 16, 1}) {
      args.a_type = BILLFISH_BF16, dtype = torch_api.bf16;
    } else if (a.dtype == nb::dlpack::dtype{2, 32, 1}) {
      args.a_type = BILLFISH_F32, dtype = torch_api.f32;
    } else {
      return nb::none();
    }
    // Contiguous, or two dimensions with rows at any stride.
    std::int64_t sizes[kMaxRank], strides[kMaxRank], expected = 1;
    args.m = 1;
    args.lda = weights_.k;
    for (std::int32_t i = a.ndim; i-- > 0;) {
      const bool free_stride = i == 0 && a.ndim == 2 && a.strides != nullptr && a.strides[0] >= weights_.k;
      if (a.strides != nullptr && a.shape[i] != 1 && a.strides[i] != expected && !free_stride) return nb::none();
      if (i == 0 && a.ndim == 2 && a.strides != nullptr && a.shape[0] > 1) args.lda = a.strides[0];
      expected *= a.shape[i];
      if (i + 1 < a.ndim) args.m *= a.shape[i];
    }
    std::int64_t stride = 1;
    for (std::int32_t i = a.ndim; i-- > 0;) {
      sizes[i] = i + 1 < a.ndim ? a.shape[i] : weights_.n;
      strides[i] = stride;
      stride *= sizes[i] > 0 ? sizes[i] : 1;
    }
    if (args.m == 0) return nb::none();
    args.a = static_cast<const char*>(a.data) + a.byte_offset;
    args.ldc = weights_.n;
    args.c_type = args.a_type;
    args.precision = precision_;

    const std::int32_t device_type = cuda ? torch_api.cuda : torch_api.cpu;
    TensorHandle out = nullptr;
    if (torch_api.empty_strided(a.ndim, sizes, strides, dtype, device_type, weights_.device_index, &out) != 0) return nb::none();
    OwnedTensor owned{out};
    torch_api.get_data_ptr(out, &args.c);
    if (cuda) {
      const Question question = {args.m, args.lda, reinterpret_cast<std::uintptr_t>(args.a) % kPlanAlignment, args.a_type};
      if (question != question_) {
        zeros_ = ask_for_zeros(weights_, args);
        check(billfish_gemm_workspace(&weights_, &args, &workspace_bytes_));
        question_ = question;
      }
      void* stream = nullptr;
      if (api_->current_stream(nb::device::cuda::value, weights_.device_index, &stream) != 0) {
        PyErr_Clear();
        return nb::none();
      }
      OwnedTensor workspace{nullptr};
      if (!use_zeros(zeros_, weights_, args, stream) && workspace_bytes_ > 0) {
        args.workspace_bytes = workspace_bytes_;
        const auto bytes = static_cast<std::int64_t>(args.workspace_bytes);
        const std::int64_t one = 1;
        if (torch_api.empty_strided(1, &bytes, &one, torch_api.u8, device_type, weights_.device_index, &workspace.handle) != 0) {
          return nb::none();
        }
        torch_api.get_data_ptr(workspace.handle, &args.workspace);
      }
      check(billfish_gemm(&weights_, &args, stream));
    } else if (args.m <= quick_rows_) {
      check(multiply_on_cpu(weights_, args));
    } else {
      const nb::gil_scoped_release released;
      check(multiply_on_cpu(weights_, args));
    }
    return owned.to_object(wrap_list_);
  }

 private:
  static constexpr std::int32_t kMaxRank = 8;

  bool watched() const {
    if (torch_api.mode_stack_length != nullptr && torch_api.tracing_state != nullptr) {
      return torch_api.mode_stack_length() != 0 || *torch_api.tracing_state() != nullptr;
    }
    for (const nb::handle watcher : watchers_) {
      if (nb::bool_(watcher())) return true;
    }
    return false;
  }

  // Deletes the handle unless it was given away. A Python object holds the tensor, not the handle.
  struct OwnedTensor {
    TensorHandle handle;
    ~OwnedTensor() {
      if (handle != nullptr) torch_api.delete_tensor(handle);
    }
    // `wrap_list`: torch's alloc_tensors_by_stealing_from_void_ptrs. Its twin for one tensor copies it and keeps the handle for ever.
    nb::object to_object(const nb::object& wrap_list) {
      if (torch_api.wrap_tensor != nullptr) {
        nb::object tensor = nb::steal(torch_api.wrap_tensor(handle));
        if (!tensor.is_valid()) throw nb::python_error();
        return tensor;
      }
      nb::list handles;
      handles.append(nb::steal(PyCapsule_New(handle, nullptr, nullptr)));
      handle = nullptr;
      return nb::borrow<nb::sequence>(wrap_list(handles))[0];
    }
  };

  nb::object tensor_type_, wrap_list_;
  nb::tuple watchers_;
  const ExchangeApi* api_ = nullptr;
  billfish_weights weights_ = BILLFISH_WEIGHTS_INIT;
  billfish_precision precision_ = BILLFISH_PRECISION_FULL;
  std::int64_t quick_rows_ = 0;
  // What decides about workspaces, and the last answers; the GIL guards them.
  struct Question {
    std::int64_t m = -1, lda = 0;
    std::uintptr_t misalignment = 0;
    billfish_element_type type = BILLFISH_F32;
    bool operator==(const Question&) const = default;
  };
  static constexpr std::uintptr_t kPlanAlignment = 16;  // bytes: plans differ for activations that lie otherwise
  mutable Question question_;
  mutable std::size_t workspace_bytes_ = 0;
  mutable ZerosAsked zeros_;
};

}  // namespace

void bind_torch_eager(nb::module_& module) {
  nb::class_<EagerWeights>(module, "EagerWeights")
      .def(nb::init<const nb::object&, const nb::object&, const nb::object&, const nb::tuple&, const nb::dict&>())
      .def("multiply", &EagerWeights::call, nb::arg().none());
}

}  // namespace billfish_python
