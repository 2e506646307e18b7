// SPDX-License-Identifier: Apache-2.0
// The commands of the tool: one file each. A command's function adds its options to its Arguments and returns what runs once they
// are parsed. To add one: write <name>.cpp, declare it here, give it a row in commands.cpp.
#pragma once

#include <functional>
#include <span>

#include "arguments.hpp"

namespace billfish::cli {

// Returns an Exit; throws Failure for anything that stops it. Options live in the closure.
using Runner = std::function<int()>;

struct Command {
  const char* name;
  const char* summary;  // one line of `billfish --help`
  Runner (*add)(Arguments& arguments);
};

// In the order in which --help lists them.
std::span<const Command> commands();

Runner add_inspect(Arguments& arguments);
Runner add_pack(Arguments& arguments);
Runner add_unpack(Arguments& arguments);
Runner add_quantize(Arguments& arguments);
Runner add_dequantize(Arguments& arguments);
Runner add_matmul(Arguments& arguments);
Runner add_verify(Arguments& arguments);
Runner add_check(Arguments& arguments);
Runner add_extract(Arguments& arguments);
Runner add_percolumn(Arguments& arguments);
Runner add_explain(Arguments& arguments);
Runner add_bench(Arguments& arguments);
Runner add_compare(Arguments& arguments);
Runner add_plot(Arguments& arguments);
Runner add_tune(Arguments& arguments);
Runner add_gpu(Arguments& arguments);
Runner add_show(Arguments& arguments);
Runner add_demo(Arguments& arguments);
Runner add_implementations(Arguments& arguments);
Runner add_version(Arguments& arguments);

}  // namespace billfish::cli
