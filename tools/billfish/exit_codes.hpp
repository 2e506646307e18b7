// SPDX-License-Identifier: Apache-2.0
// What the process returns, and nothing else. Scripts rely on these numbers: they never change meaning.
#pragma once

namespace billfish::cli {

enum Exit : int {
  kOk = 0,
  kCheckFailed = 1,   // the tool worked; what it checked is wrong
  kUsage = 2,         // the command line is wrong
  kBadInput = 3,      // a file or directory is missing, damaged, inconsistent or cannot be written
  kUnsupported = 4,   // legal, but nothing here can do it
  kDevice = 5,        // no such device, its driver failed, or its memory is full
  kDefect = 70,       // a defect of billfish itself
  kInterrupted = 130  // by Ctrl-C; by another signal 128 and its number (interrupt.hpp)
};

}  // namespace billfish::cli
