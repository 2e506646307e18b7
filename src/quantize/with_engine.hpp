// SPDX-License-Identifier: Apache-2.0
// The engine of a job: the one that its options name, or one of the CPU. Included by quantize.cpp and hessian.cpp.
#pragma once

#include <new>

#include "quantize/cpu_engine.hpp"

namespace billfish::quantize {

// body(engine) -> Status. Where an engine runs out of memory, what it says of that is returned.
template <class Body>
Status with_engine(Engine* given, const Parallel& parallel, Body&& body) {
  if (given == nullptr) {
    CpuEngine engine(parallel);
    return body(engine);
  }
  try {
    return body(*given);
  } catch (const std::bad_alloc&) {
    Status failed = given->finish();
    if (failed.ok()) throw;
    return failed;
  }
}

}  // namespace billfish::quantize
