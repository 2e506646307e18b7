// SPDX-License-Identifier: Apache-2.0
#include "errors.hpp"

#include <cerrno>
#include <cstdio>
#include <system_error>

namespace billfish::cli {

Exit exit_of(billfish_status status) {
  switch (status) {
    case BILLFISH_OK: return kOk;
    case BILLFISH_INVALID_ARGUMENT: return kUsage;
    case BILLFISH_BAD_INPUT:
    case BILLFISH_IO_ERROR: return kBadInput;
    case BILLFISH_UNSUPPORTED: return kUnsupported;
    case BILLFISH_DEVICE_ERROR:
    case BILLFISH_OUT_OF_MEMORY: return kDevice;
    case BILLFISH_CANCELLED: return kInterrupted;
    case BILLFISH_WORKSPACE_TOO_SMALL:
    case BILLFISH_INTERNAL: return kDefect;
  }
  return kDefect;
}

void check(billfish_status status, const std::string& context) {
  if (status == BILLFISH_OK) return;
  std::string message = billfish_last_error();
  if (message.empty()) message = billfish_status_name(status);
  throw Failure(exit_of(status), context.empty() ? message : context + ": " + message);
}

std::string system_error() { return std::generic_category().message(errno); }

void say(const std::string& text) noexcept {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

std::string one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n') {
      line += "; ";
    } else {
      line += static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
    }
  }
  while (line.ends_with("; ")) line.resize(line.size() - 2);
  return line;
}

}  // namespace billfish::cli
