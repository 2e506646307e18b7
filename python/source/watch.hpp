// SPDX-License-Identifier: Apache-2.0
// Python asked from within a long call of the library: signals (Ctrl-C) and callbacks, and what they raised kept until the call is over.
// Included by checkpoint.cpp and quantize.cpp.
#pragma once

#include <string>

#include "common.hpp"

namespace billfish_python {

class Watch {
 public:
  explicit Watch(nb::handle progress) : progress_(nb::borrow(progress)) {}
  ~Watch() { delete raised_; }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Runs body() with the GIL held, unless something was raised before. Whether all is well.
  template <class Body>
  bool ask(const Body& body) {
    const nb::gil_scoped_acquire acquired;
    if (raised_ != nullptr) return false;
    try {
      body();
    } catch (nb::python_error& error) {
      raised_ = new nb::python_error(std::move(error));
      return false;
    }
    return true;
  }
  // For the `progress` of an options struct: signals, then the callback. Non-zero stops the work.
  int tell(const char* layer, std::int64_t done, std::int64_t total) {
    return ask([&] {
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
      if (!progress_.is_none()) progress_(layer == nullptr ? "" : layer, done, total);
    })
               ? 0
               : 1;
  }
  // Runs call(), which returns a status, without the GIL; then raises what Python raised, or what the library refused.
  template <class Call>
  void run(const Call& call) {
    billfish_status status = BILLFISH_OK;
    std::string message;
    {
      const nb::gil_scoped_release released;
      status = call();
      if (status != BILLFISH_OK) message = billfish_last_error();
    }
    if (raised_ != nullptr) {
      nb::python_error error = std::move(*raised_);
      throw error;
    }
    if (status != BILLFISH_OK) refuse(status, message);
  }

 private:
  nb::object progress_;
  nb::python_error* raised_ = nullptr;
};

}  // namespace billfish_python
