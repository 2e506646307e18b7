// SPDX-License-Identifier: Apache-2.0
// `billfish gpu` and `billfish show`: commands made of parts.
#include "gpu.hpp"

#include <map>
#include <memory>
#include <string>

namespace billfish::cli {

Runner add_parts(Arguments& arguments, std::span<const Command> parts) {
  auto runners = std::make_shared<std::map<std::string, Runner>>();
  for (const Command& part : parts) {
    Arguments own = arguments.add_command(part.name, part.summary);
    (*runners)[part.name] = part.add(own);
  }
  return [arguments, runners] { return runners->at(arguments.chosen_command())(); };
}

Runner add_gpu(Arguments& arguments) {
  static constexpr Command kParts[] = {
      {"snapshot", "what the device is, what it does now, and what it can do at most", add_gpu_snapshot},
      {"monitor", "watch use, memory, clocks, power and temperature", add_gpu_monitor},
      {"kernel-config", "how a launch fills a device: waves, occupancy, tail, bytes in flight", add_gpu_kernel_config},
      {"benchmark", "square f16 products against the tensor cores' ceiling", add_gpu_benchmark},
  };
  arguments.footer(
      "Example:\n  billfish gpu snapshot --visualize\n  billfish gpu kernel-config \"128,4,1;256,1,1\" --smem 49152 --regs 96");
  return add_parts(arguments, kParts);
}

Runner add_show(Arguments& arguments) {
  static constexpr Command kParts[] = {
      {"packing", "where each code of a layer goes", add_show_packing},
      {"dequant", "how a packed word becomes numbers, instruction by instruction", add_show_dequant},
      {"plan", "which block computes what, and what its shared memory holds", add_show_plan},
  };
  arguments.footer(
      "Example:\n  billfish show packing --n 64 --k 16 --format gptq --svg packing.svg\n  billfish show plan --m 16 --n 4096 --k 4096");
  return add_parts(arguments, kParts);
}

}  // namespace billfish::cli
