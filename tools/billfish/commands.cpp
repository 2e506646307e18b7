// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"

#include <array>

namespace billfish::cli {

std::span<const Command> commands() {
  static constexpr Command kCommands[] = {
      {"implementations", "list the implementations and say which can run here", add_implementations},
      {"version", "print the versions of the tool and the library", add_version},
  };
  return kCommands;
}

}  // namespace billfish::cli
