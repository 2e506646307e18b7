// SPDX-License-Identifier: Apache-2.0
// Quantising: one matrix, second moments, AWQ's scales, and whole models with Python asked between layers. Called by billfish/quantize.py,
// which gives numbers for words.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>

#include "billfish/billfish_quantize.h"
#include "watch.hpp"

namespace billfish_python {
namespace {

constexpr nb::dlpack::dtype kFloat32{2, 32, 1};

struct Rows {  // [rows, columns] at any row stride
  AnyArray array;
  std::int64_t rows, columns, stride;
};
Rows as_rows(nb::handle value, const char* name) {
  AnyArray array = as_array(value, name);
  require_cpu(array, name);
  if (array.ndim() != 2) invalid(std::string(name) + " has shape " + shape_text(array) + "; it must have two dimensions");
  const auto rows = static_cast<std::int64_t>(array.shape(0)), columns = static_cast<std::int64_t>(array.shape(1));
  if (columns > 1 && array.stride(1) != 1) {
    invalid(std::string(name) + " has a stride of " + std::to_string(array.stride(1)) + " elements within a row; it must be 1");
  }
  const std::int64_t stride = rows > 1 ? array.stride(0) : columns;
  if (stride < columns)
    invalid(std::string(name) + " has a row stride of " + std::to_string(stride) + "; it must be at least " + std::to_string(columns));
  return {std::move(array), rows, columns, stride};
}
Rows as_weights(nb::handle value) {
  Rows rows = as_rows(value, "weights");
  require_dtype(rows.array, "weights", kFloat32, "float32");
  return rows;
}

std::int64_t field(const nb::dict& fields, const char* name) { return nb::cast<std::int64_t>(fields[name]); }

billfish_quantize_options read_options(const nb::dict& fields) {
  billfish_quantize_options options = BILLFISH_QUANTIZE_OPTIONS_INIT;
  options.method = static_cast<billfish_quantize_method>(field(fields, "method"));
  options.type = static_cast<billfish_weight_type>(field(fields, "type"));
  options.group = field(fields, "group");
  options.scale_type = static_cast<billfish_element_type>(field(fields, "scale_type"));
  options.act_order = static_cast<billfish_act_order>(field(fields, "act_order"));
  options.clip = static_cast<int>(field(fields, "clip"));
  options.damping = nb::cast<double>(fields["damping"]);
  options.seed = nb::cast<std::uint64_t>(fields["seed"]);
  options.device_kind = static_cast<billfish_device_kind>(field(fields, "device_kind"));
  options.device_index = static_cast<int>(field(fields, "device_index"));
  return options;
}

// Tokens, second moments, both or neither; keeps the arrays while the call lasts.
struct SampleArrays {
  billfish_samples samples = BILLFISH_SAMPLES_INIT;
  std::optional<Rows> x, hessian;

  SampleArrays(nb::handle x_value, nb::handle hessian_value, std::int64_t count, std::int64_t k) {
    if (!x_value.is_none()) {
      x = as_rows(x_value, "samples");
      if (x->columns != k) invalid("samples has shape " + shape_text(x->array) + "; its last dimension must be " + std::to_string(k));
      samples.x_type = element_type(x->array, "samples");
      samples.x = x->array.data();
      samples.tokens = x->rows;
      samples.ldx = x->stride;
    }
    if (!hessian_value.is_none()) {
      hessian = as_rows(hessian_value, "hessian");
      require_dtype(hessian->array, "hessian", kFloat32, "float32");
      require_shape(hessian->array, "hessian", {k, k});
      require_contiguous(hessian->array, "hessian");
      samples.hessian = static_cast<const float*>(hessian->array.data());
      samples.count = count;
    }
  }
  const billfish_samples* get() const { return x || hessian ? &samples : nullptr; }
};

nb::dict numbers_of(const billfish_quantized& quantized) {
  nb::dict out;
  out["weight_error"] = quantized.weight_error;
  out["output_error"] = quantized.output_error;
  out["nearest_weight_error"] = quantized.nearest_weight_error;
  out["nearest_output_error"] = quantized.nearest_output_error;
  out["damping"] = quantized.damping;
  out["dead_columns"] = quantized.dead_columns;
  out["clipped_groups"] = quantized.clipped_groups;
  return out;
}

// codes, scales, zeros or None, and the numbers beside them.
nb::tuple quantize_matrix(nb::handle weights_value, nb::handle x, nb::handle hessian, std::int64_t count, const nb::dict& fields) {
  const Rows weights = as_weights(weights_value);
  billfish_quantize_options options = read_options(fields);
  const SampleArrays samples(x, hessian, count, weights.columns);
  const auto n = static_cast<std::size_t>(weights.rows), k = static_cast<std::size_t>(weights.columns);
  if (options.group == 0 || options.group < -1) {
    invalid("group_size is " + std::to_string(options.group) + "; it must be -1 or a positive number of codes");
  }
  const std::size_t step = options.group == -1 ? std::max<std::size_t>(k, 1) : static_cast<std::size_t>(options.group);
  const std::size_t groups = (k + step - 1) / step;
  billfish_quantized quantized = BILLFISH_QUANTIZED_INIT;
  void *codes = nullptr, *zeros = nullptr;
  nb::object code_array = numpy_empty({k, n}, kUint8, &codes), zero_array = nb::none();
  if (options.type == BILLFISH_U4 || options.type == BILLFISH_U8) zero_array = numpy_empty({groups, n}, kUint8, &zeros);
  nb::object scale_array = numpy_empty({groups, n}, dlpack_type(options.scale_type), &quantized.scales);
  quantized.codes = static_cast<std::uint8_t*>(codes);
  quantized.zeros = static_cast<std::uint8_t*>(zeros);
  {
    const nb::gil_scoped_release released;
    options.parallel = shared_parallel();
    check(billfish_quantize_matrix(&options, static_cast<const float*>(weights.array.data()), weights.rows, weights.columns, weights.stride,
                                   samples.get(), &quantized));
  }
  return nb::make_tuple(code_array, scale_array, zero_array, numbers_of(quantized));
}

// Raises where quantising cannot be done.
void quantize_device(int kind, int index) {
  const nb::gil_scoped_release released;
  check(billfish_quantize_device(static_cast<billfish_device_kind>(kind), index));
}

// Adds to `hessian` in place; the new count.
std::int64_t hessian_add(nb::handle x_value, nb::handle hessian_value, std::int64_t count, int device_kind, int device_index) {
  const Rows x = as_rows(x_value, "x");
  const billfish_element_type type = element_type(x.array, "x");
  nb::ndarray<> hessian;
  if (!nb::try_cast(hessian_value, hessian)) invalid("hessian must be a writable NumPy array");
  const AnyArray seen = as_array(hessian_value, "hessian");
  require_cpu(seen, "hessian");
  require_dtype(seen, "hessian", kFloat32, "float32");
  require_shape(seen, "hessian", {x.columns, x.columns});
  require_contiguous(seen, "hessian");
  const nb::gil_scoped_release released;
  check(billfish_hessian_add_on(static_cast<billfish_device_kind>(device_kind), device_index, x.array.data(), type, x.rows, x.columns,
                                x.stride, static_cast<float*>(hessian.data()), &count, shared_parallel()));
  return count;
}

// scales, the losses of all ratios, the one taken.
nb::tuple awq_scales(const nb::list& matrices, nb::handle x, nb::handle hessian, std::int64_t count, const nb::dict& fields) {
  billfish_quantize_options options = read_options(fields);
  std::vector<Rows> kept;
  std::vector<const float*> data;
  std::vector<std::int64_t> n;
  for (const nb::handle value : matrices) {
    kept.push_back(as_weights(value));
    const Rows& rows = kept.back();
    if (rows.columns != kept[0].columns) {
      invalid("weights[" + std::to_string(kept.size() - 1) + "] has shape " + shape_text(rows.array) + " and weights[0] " +
              shape_text(kept[0].array) + "; matrices that share an input have the same last dimension");
    }
    require_contiguous(rows.array, "weights");
    data.push_back(static_cast<const float*>(rows.array.data()));
    n.push_back(rows.rows);
  }
  const std::int64_t k = kept.empty() ? 0 : kept[0].columns;
  const SampleArrays samples(x, hessian, count, k);
  void *scales = nullptr, *losses = nullptr;
  nb::object scale_array = numpy_empty({static_cast<std::size_t>(k)}, kFloat32, &scales);
  nb::object loss_array = numpy_empty({BILLFISH_AWQ_RATIOS}, {2, 64, 1}, &losses);
  std::int64_t best = 0;
  {
    const nb::gil_scoped_release released;
    options.parallel = shared_parallel();
    check(billfish_awq_scales(&options, data.data(), n.data(), static_cast<std::int64_t>(n.size()), k, samples.get(),
                              static_cast<float*>(scales), static_cast<double*>(losses), &best));
  }
  return nb::make_tuple(scale_array, loss_array, best);
}

// A model: Python's callbacks, and what the C struct points to while the call lasts.
struct ModelCall {
  Watch watch;
  nb::object want, done, planned;
};

int want_layer(void* user, const char* layer) {
  auto& call = *static_cast<ModelCall*>(user);
  bool wanted = false;
  call.watch.ask([&] { wanted = nb::cast<bool>(nb::bool_(call.want(layer))); });
  return wanted ? 1 : 0;
}

nb::object copied(const float* values, std::int64_t count) {
  if (values == nullptr) return nb::none();
  void* data = nullptr;
  nb::object out = numpy_empty({static_cast<std::size_t>(count)}, kFloat32, &data);
  std::copy(values, values + count, static_cast<float*>(data));
  return out;
}

void layer_done(void* user, const billfish_quantize_layer* layer) {
  auto& call = *static_cast<ModelCall*>(user);
  call.watch.ask([&] {
    nb::dict out = numbers_of(*layer->quantized);
    out["name"] = layer->name;
    out["n"] = layer->n;
    out["k"] = layer->k;
    out["group_size"] = layer->group;
    out["type"] = static_cast<int>(layer->type);
    out["magnitudes"] = copied(layer->magnitudes, layer->k);
    out["awq_scales"] = copied(layer->awq_scales, layer->k);
    nb::object losses = nb::none();
    if (layer->awq_losses != nullptr) {
      void* data = nullptr;
      losses = numpy_empty({BILLFISH_AWQ_RATIOS}, {2, 64, 1}, &data);
      std::copy(layer->awq_losses, layer->awq_losses + BILLFISH_AWQ_RATIOS, static_cast<double*>(data));
    }
    out["awq_losses"] = losses;
    out["held_out_error"] = layer->held_out_error;
    out["held_out_cosine"] = layer->held_out_cosine;
    out["seconds"] = layer->seconds;
    out["bytes_before"] = layer->bytes_before;
    out["bytes_after"] = layer->bytes_after;
    out["note"] = layer->note == nullptr ? "" : layer->note;
    call.done(out);
  });
}

void layer_planned(void* user, const char* layer, std::int64_t n, std::int64_t k, const char* left) {
  auto& call = *static_cast<ModelCall*>(user);
  call.watch.ask([&] { call.planned(layer, n, k, left); });
}

int on_progress(void* user, const char* layer, std::int64_t done, std::int64_t total) {
  return static_cast<ModelCall*>(user)->watch.tell(layer, done, total);
}

// callbacks: want, progress, layer_done, layer_planned, each callable or None.
void quantize_model(const std::string& in, const std::string& out, const std::string& format, const std::optional<std::string>& calibration,
                    const nb::dict& fields, const nb::dict& callbacks) {
  ModelCall call{Watch(callbacks["progress"]), nb::borrow(callbacks["want"]), nb::borrow(callbacks["layer_done"]),
                 nb::borrow(callbacks["layer_planned"])};
  billfish_quantize_model_options options = BILLFISH_QUANTIZE_MODEL_OPTIONS_INIT;
  options.matrix = read_options(fields);
  options.format = format.c_str();
  options.calibration = calibration ? calibration->c_str() : nullptr;
  options.no_fold = static_cast<int>(field(fields, "no_fold"));
  options.resume = static_cast<int>(field(fields, "resume"));
  options.skip_unsupported = static_cast<int>(field(fields, "skip_unsupported"));
  options.dry_run = static_cast<int>(field(fields, "dry_run"));
  options.user = &call;
  options.progress = &on_progress;
  if (!call.want.is_none()) options.want_layer = &want_layer;
  if (!call.done.is_none()) options.layer_done = &layer_done;
  if (!call.planned.is_none()) options.layer_planned = &layer_planned;
  call.watch.run([&] {
    options.matrix.parallel = shared_parallel();
    return billfish_quantize_model(in.c_str(), out.c_str(), &options);
  });
}

}  // namespace

void bind_quantize(nb::module_& module) {
  module.def("quantize_matrix", &quantize_matrix, nb::arg("weights").none(), nb::arg("x").none(), nb::arg("hessian").none(),
             nb::arg("count"), nb::arg("fields"));
  module.def("quantize_device", &quantize_device, nb::arg("kind"), nb::arg("index"));
  module.def("hessian_add", &hessian_add, nb::arg("x").none(), nb::arg("hessian").none(), nb::arg("count"), nb::arg("device_kind"),
             nb::arg("device_index"));
  module.def("awq_scales", &awq_scales, nb::arg("matrices"), nb::arg("x").none(), nb::arg("hessian").none(), nb::arg("count"),
             nb::arg("fields"));
  module.def("quantize_model", &quantize_model, nb::arg("source"), nb::arg("out"), nb::arg("format"), nb::arg("calibration").none(),
             nb::arg("fields"), nb::arg("callbacks"));
}

}  // namespace billfish_python
