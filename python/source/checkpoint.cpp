// SPDX-License-Identifier: Apache-2.0
// Checkpoints: open, list, pack one layer into memory, and pack or unpack whole files, interruptible. Called by billfish/checkpoint.py.
#include "checkpoint.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include "watch.hpp"
#include "weights.hpp"

namespace billfish_python {
namespace {

nb::dict layer(const Checkpoint& self, std::int64_t index) {
  const auto handle = self.use();
  billfish_layer_info info = BILLFISH_LAYER_INFO_INIT;
  check(billfish_checkpoint_layer(handle->get(), index, &info));
  nb::dict out;
  out["name"] = info.name;
  out["format"] = static_cast<int>(info.format);
  out["type"] = static_cast<int>(info.type);
  out["n"] = info.n;
  out["k"] = info.k;
  out["group"] = info.group;
  out["act_order"] = info.act_order != 0;
  out["zero_points"] = info.zero_points != 0;
  out["bias"] = info.bias != 0;
  out["scale_type"] = static_cast<int>(info.scale_type);
  out["bytes"] = info.bytes;
  out["supported"] = info.supported != 0;
  out["reason"] = info.reason == nullptr ? "" : info.reason;
  return out;
}

nb::tuple tensor(const Checkpoint& self, std::int64_t index) {
  const auto handle = self.use();
  billfish_tensor_info info = BILLFISH_TENSOR_INFO_INIT;
  check(billfish_checkpoint_tensor(handle->get(), index, &info));
  nb::list shape;
  for (int i = 0; i < info.rank; ++i) shape.append(info.shape[i]);
  return nb::make_tuple(info.name, info.dtype, nb::tuple(shape), info.bytes);
}

// Marlin bytes in the file are borrowed from the map, everything else is packed.
std::unique_ptr<Weights> load(const Checkpoint& self, std::int64_t index) {
  const auto handle = self.use();
  const nb::gil_scoped_release released;
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
  check(billfish_checkpoint_load(handle->get(), index, &matrix));
  if (matrix.format == BILLFISH_FORMAT_MARLIN && reinterpret_cast<std::uintptr_t>(matrix.codes) % 16 == 0) {
    auto borrowed = std::make_unique<Weights>();
    if (billfish_weights_of_matrix(&matrix, &borrowed->weights) == BILLFISH_OK) {
      borrowed->checkpoint = handle;
      return borrowed;
    }
  }
  return Weights::pack(matrix);
}

// One layer's arrays in checkpoint order, as bytes, copied: what a raw file of it holds.
nb::dict raw_parts(const Checkpoint& self, std::int64_t index) {
  const auto handle = self.use();
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
  check(billfish_checkpoint_load(handle->get(), index, &matrix));
  nb::dict out;
  const auto bytes = [&out](const char* name, const void* data, std::int64_t size) {
    if (data != nullptr) out[name] = nb::bytes(static_cast<const char*>(data), static_cast<std::size_t>(size));
  };
  out["format"] = static_cast<int>(matrix.format);
  out["type"] = static_cast<int>(matrix.type);
  out["scale_type"] = static_cast<int>(matrix.scale_type);
  out["group"] = matrix.group;
  bytes("codes", matrix.codes, matrix.codes_bytes);
  bytes("zeros", matrix.zeros, matrix.zeros_bytes);
  bytes("scales", matrix.scales, matrix.scales_bytes);
  bytes("g_idx", matrix.g_idx, matrix.k * 4);
  return out;
}

int on_progress(void* user, const char* layer_name, std::int64_t done, std::int64_t total) {
  return static_cast<Watch*>(user)->tell(layer_name, done, total);
}

template <class Convert>
void convert(nb::handle callback, bool skip_unsupported, const Convert& call) {
  Watch watch(callback);
  billfish_convert_options options = BILLFISH_CONVERT_OPTIONS_INIT;
  options.progress = &on_progress;
  options.user = &watch;
  options.skip_unsupported = skip_unsupported ? 1 : 0;
  watch.run([&] {
    options.parallel = shared_parallel();
    return call(options);
  });
}

}  // namespace

void bind_checkpoint(nb::module_& module) {
  nb::class_<Checkpoint>(module, "Checkpoint")
      .def(nb::init<const std::string&>(), nb::arg("path"), nb::call_guard<nb::gil_scoped_release>())
      .def("close", &Checkpoint::close)
      .def_prop_ro("closed", &Checkpoint::closed)
      .def("format", [](const Checkpoint& self) { return std::string(billfish_checkpoint_format(self.use()->get())); })
      .def("why", [](const Checkpoint& self) { return std::string(billfish_checkpoint_why(self.use()->get())); })
      .def("config", [](const Checkpoint& self) { return std::string(billfish_checkpoint_config(self.use()->get())); })
      .def("layer_count", [](const Checkpoint& self) { return billfish_checkpoint_layers(self.use()->get()); })
      .def("tensor_count", [](const Checkpoint& self) { return billfish_checkpoint_tensors(self.use()->get()); })
      .def("layer", &layer)
      .def("tensor", &tensor)
      .def("find",
           [](const Checkpoint& self, const std::string& name) {
             std::int64_t index = 0;
             check(billfish_checkpoint_find(self.use()->get(), name.c_str(), &index));
             return index;
           })
      .def("load", &load)
      .def("raw_parts", &raw_parts);
  module.def(
      "pack_checkpoint",
      [](const std::string& in, const std::string& out, nb::handle progress, bool skip_unsupported) {
        convert(progress, skip_unsupported,
                [&](const billfish_convert_options& options) { return billfish_tools_pack_checkpoint(in.c_str(), out.c_str(), &options); });
      },
      nb::arg("source"), nb::arg("out"), nb::arg("progress").none(), nb::arg("skip_unsupported"));
  module.def(
      "unpack_checkpoint",
      [](const std::string& in, const std::string& out, const std::optional<std::string>& format, nb::handle progress) {
        convert(progress, false, [&](const billfish_convert_options& options) {
          return billfish_tools_unpack_checkpoint(in.c_str(), out.c_str(), format ? format->c_str() : nullptr, &options);
        });
      },
      nb::arg("source"), nb::arg("out"), nb::arg("format").none(), nb::arg("progress").none());
}

}  // namespace billfish_python
