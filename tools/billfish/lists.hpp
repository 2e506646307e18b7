// SPDX-License-Identifier: Apache-2.0
// Options that take a list: "--m 1,16,256", "--m 1 16 256" and "--m '1 16 256'" mean the same, and -1 is a value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arguments.hpp"

namespace billfish::cli {

// Adds an option whose text ends up in `target` as "a,b,c". Parse it with one of the functions below when the command runs.
Argument add_list_option(Arguments& arguments, const std::string& names, std::string& target, const std::string& help);

// "1, 2 3" -> {"1", "2", "3"}; no empty items.
std::vector<std::string> split_list(const std::string& text);
// Whole numbers within [low, high]; `option` is named in the Failure.
std::vector<std::int64_t> parse_numbers(const std::string& text, const std::string& option, std::int64_t low, std::int64_t high);

// What main does before parsing: the values that follow a list option become one argument, so that a list may be written with
// spaces and yet never swallows the path that comes after it.
std::vector<std::string> join_lists(const Arguments& command, const std::vector<std::string>& arguments);

}  // namespace billfish::cli
