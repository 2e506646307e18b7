// SPDX-License-Identifier: Apache-2.0
// How a command stops: it throws a Failure, which main prints as one line on stderr and returns as the exit code.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "billfish/billfish.h"
#include "exit_codes.hpp"

namespace billfish::cli {

class Failure : public std::runtime_error {
 public:
  Failure(Exit code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Exit code() const { return code_; }

 private:
  Exit code_;
};

template <typename... Args>
[[noreturn]] void fail(Exit code, fmt::format_string<Args...> format, Args&&... args) {
  throw Failure(code, fmt::format(format, std::forward<Args>(args)...));
}

Exit exit_of(billfish_status status);

// Throws the library's own words when a call failed; `context` (a path, a layer) goes in front of them.
void check(billfish_status status, const std::string& context = {});

// What errno says, as text.
std::string system_error();

// Onto stderr. One that cannot be written (closed, or its disk full) is no reason to stop or to end with another exit code: no throw.
void say(const std::string& text) noexcept;

// Newlines and other control characters made harmless, so that an error stays one line.
std::string one_line(const std::string& text);

}  // namespace billfish::cli
