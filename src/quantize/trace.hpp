// SPDX-License-Identifier: Apache-2.0
// How long the steps of quantising one matrix take, for whoever measures. Called by quantize.cpp and gptq.cpp, set by api/.
#pragma once

#include "quantize/engine.hpp"

namespace billfish::quantize {

// Told when a step ended, of calls in this thread; where an engine works behind its caller's back, it is waited for first. CPU tasks that
// run in other threads tell nothing.
struct Trace {
  void (*done)(void* user, const char* step) = nullptr;
  void* user = nullptr;
};
inline thread_local Trace trace;

inline void done(Engine& engine, const char* step) {
  if (trace.done == nullptr) return;
  if (!engine.finish().ok()) return;  // whoever asks next is told
  trace.done(trace.user, step);
}

}  // namespace billfish::quantize
