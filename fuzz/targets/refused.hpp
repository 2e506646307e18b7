// SPDX-License-Identifier: Apache-2.0
// How a reader of the command-line tool refuses a file: it throws a Failure that has words and the exit code of bad input.
#pragma once

#include "../../tools/billfish/errors.hpp"

namespace billfish::fuzz {

// Whether `read` threw such a Failure. Another one traps, and whatever else is thrown ends the program: nothing gets past this function.
template <class Read>
bool refused(const Read& read) noexcept {
  try {
    read();
    return false;
  } catch (const cli::Failure& failure) {
    if (*failure.what() == '\0' || failure.code() != cli::kBadInput) __builtin_trap();
    return true;
  }
}

}  // namespace billfish::fuzz
