// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"

namespace billfish::cli {

std::span<const Command> commands() {
  static constexpr Command kCommands[] = {
      {"inspect", "show what a checkpoint holds and what of it is supported", add_inspect},
      {"pack", "rewrite a checkpoint in Marlin bytes", add_pack},
      {"unpack", "rewrite a packed checkpoint in another format, code for code", add_unpack},
      {"quantize", "make a 4- or 8-bit checkpoint from a model in f32, f16 or bf16", add_quantize},
      {"verify", "hold every layer's product against the oracle", add_verify},
      {"dequantize", "write one layer's weights as a NumPy file", add_dequantize},
      {"matmul", "multiply a NumPy file by one layer", add_matmul},
      {"check", "multiply random or raw weights and compare with the oracle", add_check},
      {"extract", "write one layer as the raw files that check reads", add_extract},
      {"percolumn", "average raw grouped scales to one a column", add_percolumn},
      {"explain", "say who would run a problem, who would not and why", add_explain},
      {"demo", "make, pack, verify and multiply a small checkpoint: the whole story", add_demo},
      {"bench", "time products, on shapes of real layers, against what the machine can do", add_bench},
      {"compare", "hold one benchmark run against another", add_compare},
      {"plot", "draw a benchmark run", add_plot},
      {"tune", "find the fastest plans for shapes and a device, for the library to load", add_tune},
      {"gpu", "say what a GPU is, what it does now and what it can do at most", add_gpu},
      {"show", "draw how the format and a plan work", add_show},
      {"implementations", "list the implementations and say which can run here", add_implementations},
      {"version", "print the versions of the tool and the library", add_version},
  };
  return kCommands;
}

}  // namespace billfish::cli
