// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "types.hpp"

namespace billfish::cli {

void add_device_option(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "cpu, cuda or cuda:INDEX; the first CUDA device where there is one, else the CPU")
      ->type_name("DEVICE");
}

void add_json_flag(CLI::App& app, bool& json) { app.add_flag("--json", json, "Print JSON, and nothing else, on standard output"); }

void add_threads_option(CLI::App& app, int& threads) {
  app.add_option("--threads", threads, "CPU threads; 0 is one a core")->check(CLI::Range(0, 1024))->capture_default_str()->type_name("T");
}

void add_product_options(CLI::App& app, ProductWords& words) {
  add_device_option(app, words.device);
  app.add_option("--implementation", words.implementation, "Force one: see `billfish implementations`")->type_name("NAME");
  app.add_option("--precision", words.precision, "Of activations on the CPU: full, bf16 or int8")->capture_default_str()->type_name("WORD");
  app.add_option("--act", words.act, "Type of activations: f32, f16 or bf16")->capture_default_str()->type_name("TYPE");
  app.add_option("--out-type", words.out_type, "Type of outputs: f32, f16 or bf16")->capture_default_str()->type_name("TYPE");
  add_threads_option(app, words.threads);
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
