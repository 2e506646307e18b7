// SPDX-License-Identifier: Apache-2.0
// The functions beside weights and checkpoints: repacking, explain, quantising, writing checkpoints, timing.
// Called by billfish/functions.py.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "weights.hpp"

namespace billfish_python {
namespace {

nb::object repack_gptq(nb::handle qweight, std::int64_t k, std::int64_t n, int bits) {
  const AnyArray array = as_array(qweight, "qweight");
  require_cpu(array, "qweight");
  require_dtype(array, "qweight", kInt32, "int32");
  if (bits != 4 && bits != 8) invalid("bits is " + std::to_string(bits) + "; supported are 4 and 8");
  if (k < 0 || n < 0) invalid("k is " + std::to_string(k) + " and n is " + std::to_string(n) + "; both must be 0 or more");
  require_shape(array, "qweight", {k * bits / 32, n});
  require_contiguous(array, "qweight");
  void* data = nullptr;
  nb::object out = numpy_empty({static_cast<std::size_t>(k / 16), static_cast<std::size_t>(n * bits / 2)}, kInt32, &data);
  const nb::gil_scoped_release released;
  check(billfish_repack_gptq_to_marlin(static_cast<const std::int32_t*>(array.data()), static_cast<std::int32_t*>(data), k, n, bits));
  return out;
}

nb::object repack_scales(nb::handle scales, std::int64_t k, std::int64_t n, std::int64_t group) {
  const AnyArray array = as_array(scales, "scales");
  require_cpu(array, "scales");
  const nb::dlpack::dtype type = array.dtype();
  const bool half = type == nb::dlpack::dtype{2, 16, 1} || type == nb::dlpack::dtype{4, 16, 1} || type == nb::dlpack::dtype{1, 16, 1};
  if (!half) invalid("scales is " + describe(array) + "; it must be float16, bfloat16, or their bits as uint16");
  if (group == 0 || group < -1) invalid("group_size is " + std::to_string(group) + "; it must be -1 or a positive number of codes");
  const std::int64_t groups = group == -1 || group >= k ? 1 : (k + group - 1) / group;
  require_shape(array, "scales", {groups, n});
  require_contiguous(array, "scales");
  void* data = nullptr;
  const nb::dlpack::dtype out_type = type.code == 4 ? nb::dlpack::dtype{1, 16, 1} : type;
  nb::object out = numpy_empty({static_cast<std::size_t>(groups), static_cast<std::size_t>(n)}, out_type, &data);
  const nb::gil_scoped_release released;
  check(billfish_repack_scales_to_marlin(static_cast<const std::uint16_t*>(array.data()), static_cast<std::uint16_t*>(data), k, n, group));
  return out;
}

// The text, and the refusal beside it if nobody can run the problem.
std::string explain(const nb::kwargs& fields, const std::optional<std::string>& device, const std::optional<std::string>& implementation,
                    bool json) {
  billfish_problem problem = BILLFISH_PROBLEM_INIT;
  const auto number = [&fields](const char* name) { return nb::cast<std::int64_t>(fields[name]); };
  problem.m = number("m");
  problem.n = number("n");
  problem.k = number("k");
  problem.group = number("group");
  problem.type = static_cast<billfish_weight_type>(number("type"));
  problem.a_type = static_cast<billfish_element_type>(number("a_type"));
  problem.c_type = static_cast<billfish_element_type>(number("c_type"));
  problem.scale_type = static_cast<billfish_element_type>(number("scale_type"));
  problem.precision = static_cast<billfish_precision>(number("precision"));
  problem.act_order = static_cast<int>(number("act_order"));
  problem.bias = static_cast<int>(number("bias"));
  problem.threads = static_cast<int>(number("threads"));
  const char* device_name = device ? device->c_str() : nullptr;
  const char* forced = implementation ? implementation->c_str() : nullptr;
  std::size_t length = 0;
  const billfish_status sized = billfish_explain(&problem, device_name, forced, json, nullptr, 0, &length);
  if (sized != BILLFISH_OK && sized != BILLFISH_UNSUPPORTED) check(sized);
  std::string text(length + 1, '\0');
  const billfish_status status = billfish_explain(&problem, device_name, forced, json, text.data(), text.size(), &length);
  if (status != BILLFISH_OK && status != BILLFISH_UNSUPPORTED) check(status);
  text.resize(length);
  return text;
}

nb::list implementations() {
  nb::list out;
  for (int i = 0; i < billfish_implementation_count(); ++i) {
    billfish_implementation_info info = BILLFISH_IMPLEMENTATION_INFO_INIT;
    check(billfish_implementation(i, &info));
    out.append(nb::make_tuple(info.name, info.device_kind == BILLFISH_CPU ? "cpu" : "cuda", info.available != 0, info.reason));
  }
  return out;
}

nb::tuple quantize(nb::handle weights, std::int64_t group, int type, int scale_type) {
  const AnyArray array = as_array(weights, "weights");
  require_cpu(array, "weights");
  require_dtype(array, "weights", {2, 32, 1}, "float32");
  if (array.ndim() != 2) invalid("weights has shape " + shape_text(array) + "; it must be [K, N]");
  require_contiguous(array, "weights");
  if (group == 0 || group < -1) invalid("group_size is " + std::to_string(group) + "; it must be -1 or a positive number of codes");
  const std::size_t k = array.shape(0), n = array.shape(1);
  const std::size_t step =
      group == -1 || group >= static_cast<std::int64_t>(k) ? std::max<std::size_t>(k, 1) : static_cast<std::size_t>(group);
  const std::size_t groups = (k + step - 1) / step;
  const auto kind = static_cast<billfish_weight_type>(type);
  void *codes = nullptr, *zeros = nullptr, *scales = nullptr;
  nb::object code_array = numpy_empty({k, n}, kUint8, &codes);
  nb::object zero_array = nb::none();
  if (kind == BILLFISH_U4 || kind == BILLFISH_U8) zero_array = numpy_empty({groups, n}, kUint8, &zeros);
  const auto element = static_cast<billfish_element_type>(scale_type);
  nb::object scale_array = numpy_empty({groups, n}, dlpack_type(element), &scales);
  {
    const nb::gil_scoped_release released;
    check(billfish_tools_quantize(static_cast<const float*>(array.data()), static_cast<std::int64_t>(k), static_cast<std::int64_t>(n),
                                  group, kind, element, static_cast<std::uint8_t*>(codes), static_cast<std::uint8_t*>(zeros), scales));
  }
  return nb::make_tuple(code_array, scale_array, zero_array);
}

// layers: (name, codes, scales, zeros or None, bias or None, group, type) each, checked by billfish/functions.py for rank.
void write_checkpoint(const std::string& directory, const std::string& format, const nb::list& layers) {
  std::vector<billfish_matrix> matrices(layers.size(), BILLFISH_MATRIX_INIT);
  std::vector<billfish_named_matrix> named(layers.size());
  std::vector<std::string> names(layers.size());
  std::vector<AnyArray> kept;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const nb::tuple entry = nb::cast<nb::tuple>(layers[i]);
    names[i] = nb::cast<std::string>(entry[0]);
    billfish_matrix& matrix = matrices[i];
    matrix.format = BILLFISH_FORMAT_RAW;
    const AnyArray codes = as_array(entry[1], "codes");
    require_cpu(codes, "codes");
    require_dtype(codes, "codes", kUint8, "uint8");
    require_contiguous(codes, "codes");
    if (codes.ndim() != 2) invalid("codes has shape " + shape_text(codes) + "; it must be [K, N]");
    matrix.k = static_cast<std::int64_t>(codes.shape(0));
    matrix.n = static_cast<std::int64_t>(codes.shape(1));
    matrix.group = nb::cast<std::int64_t>(entry[5]);
    if (matrix.group == 0 || matrix.group < -1) invalid("group_size is " + std::to_string(matrix.group));
    matrix.type = static_cast<billfish_weight_type>(nb::cast<int>(entry[6]));
    const std::int64_t groups = matrix.group == -1 || matrix.group >= matrix.k ? 1 : (matrix.k + matrix.group - 1) / matrix.group;
    const AnyArray scales = as_array(entry[2], "scales");
    require_cpu(scales, "scales");
    require_shape(scales, "scales", {groups, matrix.n});
    require_contiguous(scales, "scales");
    matrix.scale_type = element_type(scales, "scales");
    matrix.codes = codes.data();
    matrix.scales = scales.data();
    kept.push_back(codes);
    kept.push_back(scales);
    if (!entry[3].is_none()) {
      const AnyArray zeros = as_array(entry[3], "zeros");
      require_dtype(zeros, "zeros", kUint8, "uint8");
      require_shape(zeros, "zeros", {groups, matrix.n});
      require_contiguous(zeros, "zeros");
      matrix.zeros = zeros.data();
      kept.push_back(zeros);
    }
    if (!entry[4].is_none()) {
      const AnyArray bias = as_array(entry[4], "bias");
      require_shape(bias, "bias", {matrix.n});
      require_contiguous(bias, "bias");
      matrix.bias_type = element_type(bias, "bias");
      matrix.bias = bias.data();
      kept.push_back(bias);
    }
    named[i] = {names[i].c_str(), &matrices[i]};
  }
  const nb::gil_scoped_release released;
  check(billfish_tools_write_checkpoint(directory.c_str(), format.c_str(), named.data(), static_cast<std::int64_t>(named.size())));
}

// Seconds of `rounds` products of m rows, random-free: x is the caller's. Sorted statistics, and which implementation ran.
nb::tuple bench(Weights& self, nb::handle x_value, int precision, std::int64_t rounds, const std::optional<std::string>& implementation) {
  const billfish_weights& weights = self.weights;
  const AnyArray x = as_array(x_value, "x");
  require_cpu(x, "x");
  if (x.ndim() != 2) invalid("x has shape " + shape_text(x) + "; it must be [M, K]");
  require_shape(x, "x", {static_cast<std::int64_t>(x.shape(0)), weights.k});
  require_contiguous(x, "x");
  if (rounds < 1) invalid("rounds is " + std::to_string(rounds) + "; it must be 1 or more");
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.a_type = args.c_type = element_type(x, "x");
  args.m = static_cast<std::int64_t>(x.shape(0));
  args.a = x.data();
  args.lda = weights.k;
  args.ldc = weights.n;
  args.precision = static_cast<billfish_precision>(precision);
  args.implementation = implementation ? implementation->c_str() : nullptr;
  billfish_summary summary = BILLFISH_SUMMARY_INIT;
  {
    const nb::gil_scoped_release released;
    args.parallel = shared_parallel();
    const Memory out = allocate(static_cast<std::size_t>(args.m * weights.n) * element_bytes(args.c_type) + 1);
    args.c = out.get();
    check(billfish_gemm_workspace(&weights, &args, &args.workspace_bytes));
    const Memory workspace = allocate(args.workspace_bytes);
    args.workspace = workspace.get();
    std::vector<double> seconds(static_cast<std::size_t>(rounds));
    for (int warm = 0; warm < 2; ++warm) check(billfish_gemm(&weights, &args, nullptr));
    for (double& value : seconds) {
      const double begin = billfish_tools_now();
      check(billfish_gemm(&weights, &args, nullptr));
      value = billfish_tools_now() - begin;
    }
    billfish_tools_summarize(seconds.data(), rounds, &summary);
  }
  return nb::make_tuple(summary.median, summary.p10, summary.p90, summary.min, summary.max, summary.samples);
}

}  // namespace

void bind_functions(nb::module_& module) {
  module.def("version", [] { return std::string(billfish_version_string()); });
  module.def("set_threads", &set_threads);
  module.def("threads", &threads);
  module.def("now", &billfish_tools_now);
  module.def("cuda_devices", &billfish_tools_cuda_devices);
  module.def("repack_gptq_to_marlin", &repack_gptq, nb::arg("qweight").none(), nb::arg("k"), nb::arg("n"), nb::arg("bits"));
  module.def("repack_scales_to_marlin", &repack_scales, nb::arg("scales").none(), nb::arg("k"), nb::arg("n"), nb::arg("group"));
  module.def(
      "explain",
      [](const std::optional<std::string>& device, const std::optional<std::string>& implementation, bool json, const nb::kwargs& fields) {
        return explain(fields, device, implementation, json);
      },
      nb::arg("device").none(), nb::arg("implementation").none(), nb::arg("json"), nb::arg("fields"));
  module.def("implementations", &implementations);
  module.def(
      "load_plans", [](const std::optional<std::string>& path) { check(billfish_load_plans(path ? path->c_str() : nullptr)); },
      nb::arg("path").none());
  module.def("quantize", &quantize, nb::arg("weights").none(), nb::arg("group"), nb::arg("type"), nb::arg("scale_type"));
  module.def("write_checkpoint", &write_checkpoint);
  module.def("bench", &bench, nb::arg("weights"), nb::arg("x"), nb::arg("precision"), nb::arg("rounds"), nb::arg("implementation").none());
}

}  // namespace billfish_python
