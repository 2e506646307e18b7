// SPDX-License-Identifier: Apache-2.0
// The parts of `billfish gpu`: one file each. Registered by gpu.cpp. The same shape as commands.hpp.
#pragma once

#include "commands.hpp"

namespace billfish::cli {

Runner add_gpu_snapshot(CLI::App& app);
Runner add_gpu_monitor(CLI::App& app);
Runner add_gpu_kernel_config(CLI::App& app);
Runner add_gpu_benchmark(CLI::App& app);

Runner add_show_packing(CLI::App& app);
Runner add_show_dequant(CLI::App& app);
Runner add_show_plan(CLI::App& app);

// A command that is made of parts: adds each and returns what runs the one that was named.
Runner add_parts(CLI::App& app, std::span<const Command> parts);

}  // namespace billfish::cli
