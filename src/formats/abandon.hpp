// SPDX-License-Identifier: Apache-2.0
// The list of paths that are being written, kept so that a signal handler may walk it. Called by output.cpp.
#pragma once

#include <string>

namespace billfish::formats {

// An entry that stays at its address; null if there is no memory.
void* enter_output(const std::string& path, bool directory);
void leave_output(void* entry);
// Whether abandon_outputs() was called: nothing may be created or renamed any more.
bool outputs_abandoned();

// Around each call that makes a file or a directory, or renames one into place. Where it is not allowed, outputs have been abandoned: the
// call must not be made. Where it is, abandoning waits for it, and so finds what it made, or does not find what was renamed.
class OutputStep {
 public:
  OutputStep();
  ~OutputStep();
  OutputStep(const OutputStep&) = delete;
  OutputStep& operator=(const OutputStep&) = delete;
  bool allowed() const { return allowed_; }

 private:
  bool allowed_;
};

}  // namespace billfish::formats
