// SPDX-License-Identifier: Apache-2.0
// `billfish percolumn`: grouped raw scales averaged to one per column.
#include <fmt/core.h>

#include <memory>

#include "commands.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "raw_files.hpp"

namespace billfish::cli {
namespace {

struct Options {
  std::string scales, out;
  std::int64_t n = 0, groups = 0;
};

int run(const Options& options) {
  std::int64_t bytes = 0;
  keep_inputs(options.out, "the output", {options.scales});
  if (options.n < 1) fail(kUsage, "--n is {}: at least 1 column is needed", options.n);
  if (options.groups < 1) fail(kUsage, "--groups is {}: at least 1 group is needed", options.groups);
  if (__builtin_mul_overflow(options.groups, options.n, &bytes) || __builtin_mul_overflow(bytes, std::int64_t{2}, &bytes)) {
    fail(kUsage, "--groups {} x --n {} is too large", options.groups, options.n);
  }
  const auto scales = read_exactly(options.scales, bytes, fmt::format("f16 [{}, {}]", options.groups, options.n), "check --n and --groups");
  refuse_not_finite(options.scales, scales, options.n);
  const auto means = mean_scales(reinterpret_cast<const std::uint16_t*>(scales.data()), options.groups, options.n);
  OutputFile out(options.out);
  out.write(means.data(), means.size() * sizeof means[0]);
  out.commit();
  fmt::print("{}: {} scales, each the mean of {}\n", options.out, options.n, options.groups);
  return kOk;
}

}  // namespace

Runner add_percolumn(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add_option("scales", options->scales, "Raw f16 scales, [groups, N]").required().value_name("SCALES.bin");
  arguments.add_option("out", options->out, "Raw f16 scales to write, [N]").required().value_name("OUT.bin");
  arguments.add_option("--n", options->n, "Columns").required().value_name("N");
  arguments.add_option("--groups", options->groups, "Rows of scales: K / group").required().value_name("G");
  arguments.footer("Example:\n  billfish percolumn up_proj_scales.bin up_proj_scales_percolumn.bin --n 11008 --groups 16");
  return [options] { return run(*options); };
}

}  // namespace billfish::cli
