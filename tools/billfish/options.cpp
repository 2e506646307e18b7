// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "types.hpp"

namespace billfish::cli {

void add_device_option(Arguments& arguments, std::string& device) {
  arguments.add_option("--device", device, "cpu, cuda or cuda:INDEX; the first CUDA device where there is one, else the CPU")
      .value_name("DEVICE");
}

void add_json_flag(Arguments& arguments, bool& json) {
  arguments.add_flag("--json", json, "Print JSON, and nothing else, on standard output");
}

void add_threads_option(Arguments& arguments, int& threads) {
  arguments.add_option("--threads", threads, "CPU threads; 0 is one a core").within(0, 1024).show_default().value_name("T");
}

void add_product_options(Arguments& arguments, ProductWords& words) {
  add_device_option(arguments, words.device);
  arguments.add_option("--implementation", words.implementation, "Force one: see `billfish implementations`").value_name("NAME");
  arguments.add_option("--precision", words.precision, "Of activations on the CPU: full, bf16 or int8").show_default().value_name("WORD");
  arguments.add_option("--act", words.act, "Type of activations: f32, f16 or bf16").show_default().value_name("TYPE");
  arguments.add_option("--out-type", words.out_type, "Type of outputs: f32, f16 or bf16").show_default().value_name("TYPE");
  add_threads_option(arguments, words.threads);
}

ProductOptions product_options(const ProductWords& words, const Pool& pool) {
  ProductOptions options;
  options.device = choose_device(words.device);
  options.implementation = words.implementation;
  options.precision = parse_precision(words.precision);
  options.a_type = parse_element_type(words.act, "--act");
  options.c_type = parse_element_type(words.out_type, "--out-type");
  options.parallel = pool.parallel();
  return options;
}

}  // namespace billfish::cli
