// SPDX-License-Identifier: Apache-2.0
// The extension module billfish._core: everything is bound elsewhere; here are its name and what a refusal becomes in Python.
#include "common.hpp"

namespace billfish_python {
namespace {

PyObject* exception_for(billfish_status status) {
  switch (status) {
    case BILLFISH_INVALID_ARGUMENT:
    case BILLFISH_BAD_INPUT: return PyExc_ValueError;
    case BILLFISH_UNSUPPORTED: return PyExc_NotImplementedError;
    case BILLFISH_IO_ERROR: return PyExc_OSError;
    case BILLFISH_OUT_OF_MEMORY: return PyExc_MemoryError;
    case BILLFISH_CANCELLED: return PyExc_KeyboardInterrupt;
    default: return PyExc_RuntimeError;  // the device, the workspace, a defect
  }
}

void translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Refused& refused) {
    PyErr_SetString(exception_for(refused.status), refused.message.c_str());
  }
}

}  // namespace
}  // namespace billfish_python

NB_MODULE(_core, module) {
  nanobind::set_leak_warnings(false);  // torch's caches keep modules, and so weights, until after the interpreter is gone
  nanobind::register_exception_translator(billfish_python::translate, nullptr);
  billfish_python::bind_weights(module);
  billfish_python::bind_checkpoint(module);
  billfish_python::bind_functions(module);
  billfish_python::bind_quantize(module);
  billfish_python::bind_torch(module);
  billfish_python::bind_torch_eager(module);
  billfish_python::bind_torch_zeros(module);
}
