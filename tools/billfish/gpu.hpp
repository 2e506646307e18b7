// SPDX-License-Identifier: Apache-2.0
// The parts of `billfish gpu`: one file each. Registered by gpu.cpp. The same shape as commands.hpp.
#pragma once

#include "commands.hpp"

namespace billfish::cli {

Runner add_gpu_snapshot(Arguments& arguments);
Runner add_gpu_monitor(Arguments& arguments);
Runner add_gpu_kernel_config(Arguments& arguments);
Runner add_gpu_benchmark(Arguments& arguments);

Runner add_show_packing(Arguments& arguments);
Runner add_show_dequant(Arguments& arguments);
Runner add_show_plan(Arguments& arguments);

// A command that is made of parts: adds each and returns what runs the one that was named.
Runner add_parts(Arguments& arguments, std::span<const Command> parts);

}  // namespace billfish::cli
