// SPDX-License-Identifier: Apache-2.0
// What the terminal can show: bold words, block characters, lines that are drawn again.
#pragma once

#include <string>
#include <vector>

namespace billfish::cli {

bool stdout_is_terminal();
bool shows_utf8();  // the locale's character set, by LC_ALL, LC_CTYPE, LANG

std::string bold(const std::string& text);  // as it is where stdout is no terminal

// One character a value, between `low` and `high`: eighths of a block, or ASCII from ' ' to '#'.
std::string sparkline(const std::vector<double>& values, double low, double high);
// A bar of `cells` characters of which `share` (0..1) is full.
std::string bar(double share, int cells);

}  // namespace billfish::cli
