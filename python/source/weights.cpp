// SPDX-License-Identifier: Apache-2.0
// Weights: packing from codes, borrowing Marlin arrays, dequantising, multiplying. Called by billfish/weights.py.
#include "weights.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

namespace billfish_python {

std::unique_ptr<Weights> Weights::pack(const billfish_matrix& matrix) {
  billfish_packed_sizes sizes = BILLFISH_PACKED_SIZES_INIT;
  check(billfish_packed_sizes_of(&matrix, &sizes));
  auto packed = std::make_unique<Weights>();
  const auto part = [](Memory& memory, std::int64_t bytes) {
    memory = allocate(static_cast<std::size_t>(bytes));
    return memory.get();
  };
  packed->weights.codes = part(packed->codes, sizes.codes);
  packed->weights.scales = part(packed->scales, sizes.scales);
  packed->weights.zeros = part(packed->zeros, sizes.zeros);
  packed->weights.perm = static_cast<std::int32_t*>(part(packed->perm, sizes.perm));
  packed->weights.g_idx = static_cast<std::int32_t*>(part(packed->g_idx, sizes.g_idx));
  packed->weights.bias = part(packed->bias, sizes.bias);
  check(billfish_pack(&matrix, &packed->weights, shared_parallel(), nullptr));
  return packed;
}

namespace {

std::int64_t round_up(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }
int bits_of(billfish_weight_type type) { return type == BILLFISH_U4B8 || type == BILLFISH_U4 ? 4 : 8; }
bool has_zeros(billfish_weight_type type) { return type == BILLFISH_U4 || type == BILLFISH_U8; }
std::int64_t groups_of(std::int64_t k, std::int64_t group) { return group <= 0 || group >= k ? 1 : (k + group - 1) / group; }

// The array as an argument of the library: on the cpu, of that type and shape, without gaps.
const void* plain(nb::handle value, const char* name, nb::dlpack::dtype type, const char* type_name, const std::vector<std::int64_t>& shape,
                  std::vector<nb::object>& kept) {
  if (value.is_none()) return nullptr;
  const AnyArray array = as_array(value, name);
  require_cpu(array, name);
  require_dtype(array, name, type, type_name);
  require_shape(array, name, shape);
  require_contiguous(array, name);
  kept.push_back(nb::cast(array));
  return array.data();
}

const void* elements(nb::handle value, const char* name, const std::vector<std::int64_t>& shape, billfish_element_type& type,
                     std::vector<nb::object>& kept) {
  if (value.is_none()) return nullptr;
  const AnyArray array = as_array(value, name);
  require_cpu(array, name);
  type = element_type(array, name);
  require_shape(array, name, shape);
  require_contiguous(array, name);
  kept.push_back(nb::cast(array));
  return array.data();
}

void require_sizes(std::int64_t k, std::int64_t n, std::int64_t group) {
  if (k < 1 || n < 1) invalid("k is " + std::to_string(k) + " and n is " + std::to_string(n) + "; both must be 1 or more");
  if (group == 0 || group < -1) {
    invalid("group_size is " + std::to_string(group) + "; it must be -1 (one group) or a positive number of codes");
  }
}

// codes uint8 [K,N], zeros uint8 [groups,N] -> packed.
std::unique_ptr<Weights> pack_codes(nb::handle codes, nb::handle scales, nb::handle zeros, nb::handle g_idx, nb::handle bias,
                                    std::int64_t group, int type) {
  const AnyArray array = as_array(codes, "codes");
  if (array.ndim() != 2) invalid("codes has shape " + shape_text(array) + "; it must be [K, N]");
  std::vector<nb::object> kept;
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
  matrix.format = BILLFISH_FORMAT_RAW;
  matrix.type = static_cast<billfish_weight_type>(type);
  matrix.k = static_cast<std::int64_t>(array.shape(0));
  matrix.n = static_cast<std::int64_t>(array.shape(1));
  matrix.group = group;
  require_sizes(matrix.k, matrix.n, group);
  const std::int64_t groups = groups_of(matrix.k, group);
  matrix.codes = plain(codes, "codes", kUint8, "uint8", {matrix.k, matrix.n}, kept);
  matrix.zeros = plain(zeros, "zeros", kUint8, "uint8", {groups, matrix.n}, kept);
  matrix.scales = elements(scales, "scales", {groups, matrix.n}, matrix.scale_type, kept);
  matrix.g_idx = static_cast<const std::int32_t*>(plain(g_idx, "g_idx", kInt32, "int32", {matrix.k}, kept));
  matrix.bias = elements(bias, "bias", {matrix.n}, matrix.bias_type, kept);
  if (has_zeros(matrix.type) && matrix.zeros == nullptr) invalid("zeros is None; types u4 and u8 store zero points");
  if (!has_zeros(matrix.type) && matrix.zeros != nullptr) invalid("zeros is given; types u4b8 and u8b128 have none");
  const nb::gil_scoped_release released;
  return Weights::pack(matrix);
}

// Any checkpoint order at all, for the torch layers: shapes are those of docs/formats.md, sizes are checked by the library.
std::unique_ptr<Weights> pack_format(int format, int type, std::int64_t k, std::int64_t n, std::int64_t group, nb::handle codes,
                                     nb::handle scales, nb::handle zeros, nb::handle g_idx, nb::handle bias) {
  std::vector<nb::object> kept;
  const auto bytes = [&kept](nb::handle value, const char* name, std::int64_t& size) -> const void* {
    if (value.is_none()) return nullptr;
    const AnyArray array = as_array(value, name);
    require_cpu(array, name);
    require_contiguous(array, name);
    size = static_cast<std::int64_t>(array.nbytes());
    kept.push_back(nb::cast(array));
    return array.data();
  };
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
  matrix.format = static_cast<billfish_format>(format);
  matrix.type = static_cast<billfish_weight_type>(type);
  matrix.k = k;
  matrix.n = n;
  matrix.group = group;
  require_sizes(k, n, group);
  matrix.codes = bytes(codes, "codes", matrix.codes_bytes);
  matrix.zeros = bytes(zeros, "zeros", matrix.zeros_bytes);
  const AnyArray scale_array = as_array(scales, "scales");
  matrix.scale_type = element_type(scale_array, "scales");
  matrix.scales = bytes(scales, "scales", matrix.scales_bytes);
  matrix.g_idx = static_cast<const std::int32_t*>(plain(g_idx, "g_idx", kInt32, "int32", {k}, kept));
  matrix.bias = elements(bias, "bias", {n}, matrix.bias_type, kept);
  const nb::gil_scoped_release released;
  return Weights::pack(matrix);
}

// The library trusts these arrays, and reads activations and scales where they point.
void require_order(const std::int32_t* perm, const std::int32_t* g_idx, std::int64_t k, std::int64_t groups) {
  const auto entry = [](const char* name, std::int64_t i, std::int64_t value) {
    return std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(value);
  };
  std::vector<bool> taken(perm != nullptr ? static_cast<std::size_t>(k) : 0);
  for (std::int64_t i = 0; perm != nullptr && i < k; ++i) {
    if (perm[i] < 0 || perm[i] >= k) invalid(entry("perm", i, perm[i]) + "; it must be 0 to " + std::to_string(k - 1));
    const auto row = static_cast<std::size_t>(perm[i]);
    if (taken[row])
      invalid(entry("perm", i, perm[i]) + ", which an earlier entry is too; every row from 0 to " + std::to_string(k - 1) +
              " must be there once");
    taken[row] = true;
  }
  for (std::int64_t i = 0; g_idx != nullptr && i < k; ++i) {
    if (g_idx[i] < 0 || g_idx[i] >= groups) invalid(entry("g_idx", i, g_idx[i]) + "; it must be 0 to " + std::to_string(groups - 1));
    if (i > 0 && g_idx[i] < g_idx[i - 1])
      invalid(entry("g_idx", i, g_idx[i]) + " after " + std::to_string(g_idx[i - 1]) + "; it must be sorted");
  }
}

std::unique_ptr<Weights> from_marlin(nb::handle codes, nb::handle scales, nb::handle zeros, nb::handle g_idx, nb::handle perm,
                                     nb::handle bias, std::int64_t k, std::int64_t n, std::int64_t group, int type) {
  auto borrowed = std::make_unique<Weights>();
  billfish_weights& weights = borrowed->weights;
  weights.type = static_cast<billfish_weight_type>(type);
  weights.k = k;
  weights.n = n;
  weights.group = group;
  require_sizes(k, n, group);
  const std::int64_t groups = groups_of(k, group), padded_n = round_up(n, 64), bits = bits_of(weights.type);
  std::vector<nb::object>& kept = borrowed->arrays;
  weights.codes = const_cast<void*>(plain(codes, "codes", kInt32, "int32", {round_up(k, 16) / 16, padded_n * bits / 2}, kept));
  weights.scales = const_cast<void*>(elements(scales, "scales", {groups, padded_n}, weights.scale_type, kept));
  weights.zeros = const_cast<void*>(plain(zeros, "zeros", kInt32, "int32", {groups, padded_n * bits / 32}, kept));
  weights.perm = static_cast<std::int32_t*>(const_cast<void*>(plain(perm, "perm", kInt32, "int32", {k}, kept)));
  weights.g_idx = static_cast<std::int32_t*>(const_cast<void*>(plain(g_idx, "g_idx", kInt32, "int32", {k}, kept)));
  weights.bias = const_cast<void*>(elements(bias, "bias", {n}, weights.bias_type, kept));
  if (weights.codes == nullptr || weights.scales == nullptr) invalid("codes and scales must be arrays, not None");
  require_order(weights.perm, weights.g_idx, k, groups);
  return borrowed;
}

// x [..., K] -> rows and their stride. One or two dimensions with any row stride; more only if they lie like one.
struct Rows {
  std::int64_t m = 1, stride = 0;
};
Rows rows_of(const AnyArray& x, const char* name, std::int64_t width) {
  if (x.ndim() == 0 || static_cast<std::int64_t>(x.shape(x.ndim() - 1)) != width) {
    invalid(std::string(name) + " has shape " + shape_text(x) + "; its last dimension must be " + std::to_string(width));
  }
  const std::size_t last = x.ndim() - 1;
  const bool empty = x.size() == 0;  // then strides mean nothing
  if (!empty && x.shape(last) > 1 && x.stride(last) != 1) {
    invalid(std::string(name) + " has a stride of " + std::to_string(x.stride(last)) +
            " elements within a row; it must be 1 (numpy.ascontiguousarray makes such a copy)");
  }
  Rows rows;
  rows.stride = width;
  bool first = true;
  for (std::size_t i = last; i-- > 0;) {
    if (x.shape(i) != 1) {
      if (first) {
        rows.stride = x.stride(i);
      } else if (!empty && x.stride(i) != rows.stride * rows.m) {
        invalid(std::string(name) + " has rows that do not lie at one stride (dimension " + std::to_string(i) +
                "); give it as [M, K] or make it contiguous");
      }
      first = false;
    }
    rows.m *= static_cast<std::int64_t>(x.shape(i));
  }
  if (rows.m > 1 && rows.stride < width) {
    invalid(std::string(name) + " has a row stride of " + std::to_string(rows.stride) + " elements; it must be " + std::to_string(width) +
            " or more");
  }
  return rows;
}

nb::object matmul(Weights& self, nb::handle x_value, nb::handle out_value, int precision, std::uint32_t flags,
                  const std::optional<std::string>& implementation) {
  const billfish_weights& weights = self.weights;
  const AnyArray x = as_array(x_value, "x");
  require_cpu(x, "x");
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.a_type = element_type(x, "x");
  const Rows in = rows_of(x, "x", weights.k);
  args.m = in.m;
  args.a = x.data();
  args.lda = in.stride;
  args.precision = static_cast<billfish_precision>(precision);
  args.flags = flags;
  args.implementation = implementation ? implementation->c_str() : nullptr;

  nb::object result;
  nb::ndarray<> out;
  if (out_value.is_none()) {
    args.c_type = args.a_type == BILLFISH_BF16 ? BILLFISH_F32 : args.a_type;  // NumPy has no bf16
    std::vector<std::size_t> shape;
    for (std::size_t i = 0; i + 1 < x.ndim(); ++i) shape.push_back(x.shape(i));
    shape.push_back(static_cast<std::size_t>(weights.n));
    result = numpy_empty(shape, dlpack_type(args.c_type), &args.c);
    args.ldc = weights.n;
  } else {
    if (!nb::try_cast<nb::ndarray<>>(out_value, out, false) || !out.is_valid()) {
      throw nb::type_error("out must be a writable NumPy array or a writable object with __dlpack__");
    }
    const AnyArray view(out);
    require_cpu(view, "out");
    args.c_type = element_type(view, "out");
    const Rows rows = rows_of(view, "out", weights.n);
    if (rows.m != args.m || out.ndim() != x.ndim()) {
      invalid("out has shape " + shape_text(view) + "; it must be that of x with " + std::to_string(weights.n) + " as its last dimension");
    }
    args.c = out.data();
    args.ldc = rows.stride;
    result = nb::borrow(out_value);
  }
  {
    const nb::gil_scoped_release released;
    args.parallel = shared_parallel();
    check(billfish_gemm_workspace(&weights, &args, &args.workspace_bytes));
    const Memory workspace = allocate(args.workspace_bytes);
    args.workspace = workspace.get();
    check(billfish_gemm(&weights, &args, nullptr));
  }
  return result;
}

nb::object dequantize(Weights& self) {
  void* data = nullptr;
  const billfish_weights& weights = self.weights;
  nb::object out =
      numpy_empty({static_cast<std::size_t>(weights.k), static_cast<std::size_t>(weights.n)}, dlpack_type(BILLFISH_F32), &data);
  const nb::gil_scoped_release released;
  check(billfish_dequantize(&weights, static_cast<float*>(data), weights.n, shared_parallel()));
  return out;
}

// One packed part as a NumPy view that keeps the weights alive; None if the weights have no such part.
nb::object part(nb::handle self, const char* name) {
  const billfish_weights& w = nb::cast<Weights&>(self).weights;
  const std::string part = name;
  const auto size = [](std::int64_t value) { return static_cast<std::size_t>(value); };
  const std::size_t padded_n = size(round_up(w.n, 64)), groups = size(groups_of(w.k, w.group)), bits = size(bits_of(w.type));
  const auto view = [&](void* data, std::vector<std::size_t> shape, nb::dlpack::dtype type) {
    return data == nullptr ? nb::none() : numpy_view(data, std::move(shape), type, self);
  };
  if (part == "codes") return view(w.codes, {size(round_up(w.k, 16) / 16), padded_n * bits / 2}, kInt32);
  if (part == "scales") return view(w.scales, {groups, padded_n}, dlpack_type(w.scale_type));
  if (part == "zeros") return view(w.zeros, {groups, padded_n * bits / 32}, kInt32);
  if (part == "perm") return view(w.perm, {size(w.k)}, kInt32);
  if (part == "g_idx") return view(w.g_idx, {size(w.k)}, kInt32);
  if (part == "bias") return view(w.bias, {size(w.n)}, dlpack_type(w.bias_type));
  invalid("no part is called " + part + "; parts are codes, scales, zeros, perm, g_idx and bias");
}

// The way back, into arrays of the format's shapes that the caller made (docs/formats.md); sizes are checked by the library.
void unpack(const Weights& self, int format, nb::handle codes, nb::handle scales, nb::handle zeros, nb::handle g_idx) {
  const auto target = [](nb::handle value, const char* name, std::int64_t& size) -> void* {
    if (value.is_none()) return nullptr;
    nb::ndarray<> array;
    if (!nb::try_cast<nb::ndarray<>>(value, array, false)) throw nb::type_error((std::string(name) + " must be a writable array").c_str());
    const AnyArray view(array);
    require_cpu(view, name);
    require_contiguous(view, name);
    size = static_cast<std::int64_t>(array.nbytes());
    return array.data();
  };
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
  std::int64_t g_idx_bytes = 0;
  matrix.format = static_cast<billfish_format>(format);
  matrix.type = self.weights.type;
  matrix.n = self.weights.n;
  matrix.k = self.weights.k;
  matrix.group = self.weights.group;
  matrix.scale_type = self.weights.scale_type;
  matrix.codes = target(codes, "codes", matrix.codes_bytes);
  matrix.scales = target(scales, "scales", matrix.scales_bytes);
  matrix.zeros = target(zeros, "zeros", matrix.zeros_bytes);
  matrix.g_idx = static_cast<std::int32_t*>(target(g_idx, "g_idx", g_idx_bytes));
  if (matrix.g_idx != nullptr && g_idx_bytes != matrix.k * 4) invalid("g_idx must be int32 [" + std::to_string(matrix.k) + "]");
  const nb::gil_scoped_release released;
  check(billfish_unpack(&self.weights, &matrix, shared_parallel()));
}

}  // namespace

void bind_weights(nb::module_& module) {
  nb::class_<Weights>(module, "Weights")
      .def_prop_ro("k", [](const Weights& self) { return self.weights.k; })
      .def_prop_ro("n", [](const Weights& self) { return self.weights.n; })
      .def_prop_ro("group", [](const Weights& self) { return self.weights.group; })
      .def_prop_ro("type", [](const Weights& self) { return static_cast<int>(self.weights.type); })
      .def_prop_ro("scale_type", [](const Weights& self) { return static_cast<int>(self.weights.scale_type); })
      .def_prop_ro("bias_type", [](const Weights& self) { return static_cast<int>(self.weights.bias_type); })
      .def_prop_ro("flags", [](const Weights& self) { return self.weights.flags; })
      .def("part", &part)
      .def("matmul", &matmul, nb::arg("x").none(), nb::arg("out").none(), nb::arg("precision"), nb::arg("flags"),
           nb::arg("implementation").none())
      .def("dequantize", &dequantize)
      .def("unpack", &unpack, nb::arg("format"), nb::arg("codes").none(), nb::arg("scales").none(), nb::arg("zeros").none(),
           nb::arg("g_idx").none());
  module.def("pack_codes", &pack_codes, nb::arg("codes").none(), nb::arg("scales").none(), nb::arg("zeros").none(), nb::arg("g_idx").none(),
             nb::arg("bias").none(), nb::arg("group"), nb::arg("type"));
  module.def("pack_format", &pack_format, nb::arg("format"), nb::arg("type"), nb::arg("k"), nb::arg("n"), nb::arg("group"),
             nb::arg("codes").none(), nb::arg("scales").none(), nb::arg("zeros").none(), nb::arg("g_idx").none(), nb::arg("bias").none());
  module.def("from_marlin", &from_marlin, nb::arg("codes").none(), nb::arg("scales").none(), nb::arg("zeros").none(),
             nb::arg("g_idx").none(), nb::arg("perm").none(), nb::arg("bias").none(), nb::arg("k"), nb::arg("n"), nb::arg("group"),
             nb::arg("type"));
}

}  // namespace billfish_python
