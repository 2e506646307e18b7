// SPDX-License-Identifier: Apache-2.0
// What every file of the Python extension shares: statuses as Python exceptions, arrays as pointers with checked shapes, and the threads
// that CPU work runs on. Included by all of python/source; calls include/billfish/ only.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "billfish/billfish.h"
#include "billfish/billfish_tools.h"

namespace billfish_python {

namespace nb = nanobind;

// Any array in, looked at without a copy. Dtype, rank, strides and device are checked by us, so that messages say what was wrong.
using AnyArray = nb::ndarray<nb::ro>;

// A refusal that carries its status until it becomes a Python exception (module.cpp registers the translation).
struct Refused {
  billfish_status status;
  std::string message;
};
// Throws Refused with the library's message. To be called on the thread whose call failed, before any other call of the library.
void check(billfish_status status);
[[noreturn]] void refuse(billfish_status status, const std::string& message);
[[noreturn]] inline void invalid(const std::string& message) { refuse(BILLFISH_INVALID_ARGUMENT, message); }

// `value` as an array: NumPy, the buffer protocol, or anything with __dlpack__. TypeError naming the argument otherwise.
AnyArray as_array(nb::handle value, const char* name);
// "float16 [3, 4] on the cpu", for messages.
std::string describe(const AnyArray& array);
std::string shape_text(const AnyArray& array);
// Refuses another device, dtype, shape, or an array that is not row-major without gaps.
void require_cpu(const AnyArray& array, const char* name);
void require_contiguous(const AnyArray& array, const char* name);
void require_shape(const AnyArray& array, const char* name, const std::vector<std::int64_t>& shape);
void require_dtype(const AnyArray& array, const char* name, nb::dlpack::dtype type, const char* type_name);
billfish_element_type element_type(const AnyArray& array, const char* name);
std::size_t element_bytes(billfish_element_type type);
inline constexpr nb::dlpack::dtype kInt32{0, 32, 1};
inline constexpr nb::dlpack::dtype kInt64{0, 64, 1};
inline constexpr nb::dlpack::dtype kUint8{1, 8, 1};

// A NumPy array over memory that `owner` keeps alive.
nb::object numpy_view(void* data, std::vector<std::size_t> shape, nb::dlpack::dtype type, nb::handle owner);
// Fresh NumPy memory of that shape, aligned to 64 bytes.
nb::object numpy_empty(std::vector<std::size_t> shape, nb::dlpack::dtype type, void** data);
nb::dlpack::dtype dlpack_type(billfish_element_type type);  // bf16 as uint16: NumPy has no bf16

// Memory aligned to 64 bytes; null for 0 bytes.
struct Free {
  void operator()(void* memory) const;
};
using Memory = std::unique_ptr<void, Free>;
Memory allocate(std::size_t bytes);

// The threads that every call of this process shares; made when first needed, and made anew in a forked child.
const billfish_parallel* shared_parallel();
void set_threads(int threads);  // 0: one per core
int threads();

// An open checkpoint that stays mapped while any call or any borrowed layer uses it, whoever closes it meanwhile.
class CheckpointHandle;

void bind_weights(nb::module_& module);
void bind_checkpoint(nb::module_& module);
void bind_functions(nb::module_& module);
void bind_quantize(nb::module_& module);
void bind_torch(nb::module_& module);
void bind_torch_eager(nb::module_& module);
void bind_torch_zeros(nb::module_& module);

}  // namespace billfish_python
