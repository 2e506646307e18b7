// SPDX-License-Identifier: Apache-2.0
#include "terminal.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace billfish::cli {

bool stdout_is_terminal() {
  static const bool is = isatty(STDOUT_FILENO) != 0;
  return is;
}

bool shows_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string text = value;
    return text.find("UTF-8") != std::string::npos || text.find("utf8") != std::string::npos;
  }
  return false;
}

std::string bold(const std::string& text) { return stdout_is_terminal() ? "\x1b[1m" + text + "\x1b[0m" : text; }

std::string sparkline(const std::vector<double>& values, double low, double high) {
  static constexpr const char* kBlocks[] = {"\xe2\x96\x81", "\xe2\x96\x82", "\xe2\x96\x83", "\xe2\x96\x84",
                                            "\xe2\x96\x85", "\xe2\x96\x86", "\xe2\x96\x87", "\xe2\x96\x88"};
  static constexpr char kAscii[] = "_.:-=+*#";
  std::string text;
  for (const double value : values) {
    const double share = high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) : 0.0;
    const int level = std::min(7, static_cast<int>(share * 8));
    text += shows_utf8() ? kBlocks[level] : std::string(1, kAscii[level]);
  }
  return text;
}

std::string bar(double share, int cells) {
  const int full = std::clamp(static_cast<int>(share * cells + 0.5), 0, cells);
  return std::string(static_cast<std::size_t>(full), '#') + std::string(static_cast<std::size_t>(cells - full), '.');
}

}  // namespace billfish::cli
