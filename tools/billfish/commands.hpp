// SPDX-License-Identifier: Apache-2.0
// The commands of the tool: one file each. A command's function adds its options to its CLI::App and returns what runs once they
// are parsed. To add one: write <name>.cpp, declare it here, give it a row in commands.cpp.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <span>

namespace billfish::cli {

// Returns an Exit; throws Failure for anything that stops it. Options live in the closure.
using Runner = std::function<int()>;

struct Command {
  const char* name;
  const char* summary;  // one line of `billfish --help`
  Runner (*add)(CLI::App& app);
};

// In the order in which --help lists them.
std::span<const Command> commands();

Runner add_inspect(CLI::App& app);
Runner add_pack(CLI::App& app);
Runner add_unpack(CLI::App& app);
Runner add_quantize(CLI::App& app);
Runner add_dequantize(CLI::App& app);
Runner add_matmul(CLI::App& app);
Runner add_verify(CLI::App& app);
Runner add_check(CLI::App& app);
Runner add_extract(CLI::App& app);
Runner add_percolumn(CLI::App& app);
Runner add_explain(CLI::App& app);
Runner add_bench(CLI::App& app);
Runner add_compare(CLI::App& app);
Runner add_plot(CLI::App& app);
Runner add_tune(CLI::App& app);
Runner add_gpu(CLI::App& app);
Runner add_show(CLI::App& app);
Runner add_demo(CLI::App& app);
Runner add_implementations(CLI::App& app);
Runner add_version(CLI::App& app);

}  // namespace billfish::cli
