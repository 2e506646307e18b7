// SPDX-License-Identifier: Apache-2.0
// `billfish explain`: who would run a problem, who would not and why, and the plan. Pure: the device need not be here.
#include <fmt/core.h>

#include <memory>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "errors.hpp"
#include "json.hpp"
#include "options.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

struct Options {
  std::int64_t m = 1, n = 0, k = 0, group = 128;
  std::string type = "u4b8", act = "f16", out_type = "f16", scale_type = "f16", precision = "full", device, implementation;
  int threads = 0;
  bool act_order = false, bias = false, wide_scales = false, batch_invariant = false, dependent_launch = false;
  bool zeroed_workspace = false, json = false;
};

int run(const Options& options) {
  for (const auto& [name, value] : {std::pair{"--m", options.m}, {"--n", options.n}, {"--k", options.k}}) {
    if (value < 0) fail(kUsage, "{} is {}: it must be 0 or more", name, value);
  }
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  problem.m = options.m;
  problem.n = options.n;
  problem.k = options.k;
  problem.group = options.group;
  problem.type = parse_weight_type(options.type);
  problem.a_type = parse_element_type(options.act, "--act");
  problem.c_type = parse_element_type(options.out_type, "--out-type");
  problem.scale_type = parse_element_type(options.scale_type, "--scale-type");
  problem.precision = parse_precision(options.precision);
  problem.flags = (options.batch_invariant ? BILLFISH_GEMM_BATCH_INVARIANT : 0) |
                  (options.dependent_launch ? BILLFISH_GEMM_DEPENDENT_LAUNCH : 0) |
                  (options.zeroed_workspace ? BILLFISH_GEMM_ZEROED_WORKSPACE : 0);
  problem.act_order = options.act_order;
  problem.bias = options.bias;
  problem.wide_scales = options.wide_scales;
  problem.threads = options.threads;
  const char* device = options.device.empty() ? nullptr : options.device.c_str();
  const char* implementation = options.implementation.empty() ? nullptr : options.implementation.c_str();

  std::vector<char> text(1 << 14);
  std::size_t length = 0;
  billfish_status status = BILLFISH_OK;
  for (int attempt = 0; attempt < 2; ++attempt) {  // once more if the text is longer than expected
    length = 0;
    status = billfish_explain(&problem, device, implementation, options.json, text.data(), text.size(), &length);
    if (length < text.size()) break;
    text.resize(length + 1);
  }
  if (status != BILLFISH_OK && status != BILLFISH_UNSUPPORTED) check(status);
  const std::string message = status == BILLFISH_OK ? "" : billfish_last_error();
  if (options.json) {
    if (length > 0) print_json(parse_json({text.data(), length}));
  } else {
    fmt::print("{}", text.data());
    if (length > 0 && text[length - 1] != '\n') fmt::print("\n");
  }
  if (status != BILLFISH_OK) throw Failure(kUnsupported, message.empty() ? "no implementation can run this problem" : message);
  return kOk;
}

}  // namespace

Runner add_explain(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add_option("--m", options->m, "Rows of activations").required().value_name("M");
  arguments.add_option("--n", options->n, "Columns of the weights").required().value_name("N");
  arguments.add_option("--k", options->k, "Rows of the weights").required().value_name("K");
  arguments.add_option("--type", options->type, "u4b8, u4, u8b128 or u8").show_default().value_name("TYPE");
  arguments.add_option("--group", options->group, "Codes along K that share a scale; -1: all of K").show_default().value_name("G");
  arguments.add_option("--device", options->device, "cpu, cuda (the one here), sm_80, sm_90, ...; the best one here if not given")
      .value_name("DEVICE");
  arguments.add_option("--act", options->act, "Type of activations: f32, f16 or bf16").show_default().value_name("TYPE");
  arguments.add_option("--out-type", options->out_type, "Type of outputs").show_default().value_name("TYPE");
  arguments.add_option("--scale-type", options->scale_type, "Type of scales").show_default().value_name("TYPE");
  arguments.add_option("--precision", options->precision, "full, bf16 or int8").show_default().value_name("WORD");
  arguments.add_option("--implementation", options->implementation, "Force one by name").value_name("NAME");
  add_threads_option(arguments, options->threads);
  arguments.add_flag("--act-order", options->act_order, "The weights carry an activation order");
  arguments.add_flag("--bias", options->bias, "A bias is added");
  arguments.add_flag("--wide-scales", options->wide_scales, "Some scale times code leaves the 16-bit range");
  arguments.add_flag("--batch-invariant", options->batch_invariant, "A row's bits may not depend on M");
  arguments.add_flag("--dependent-launch", options->dependent_launch, "May start before the stream's previous kernel ends");
  arguments.add_flag("--zeroed-workspace", options->zeroed_workspace,
                     "CUDA: the caller's workspace was set to zeros once (BILLFISH_GEMM_ZEROED_WORKSPACE)");
  add_json_flag(arguments, options->json);
  arguments.footer("Example:\n  billfish explain --m 16 --n 11008 --k 4096 --type u4b8 --group 128 --device sm_90");
  return [options] { return run(*options); };
}

}  // namespace billfish::cli
