// SPDX-License-Identifier: Apache-2.0
// The kernels of billfish.torch's operators, as boxed functions of torch's stable ABI. Schemas, fake implementations and documentation are
// in billfish/torch/operators.py, which calls register_torch_kernels after defining them.
//
// A call: arguments off the stack and checked, a billfish_weights over the tensors' memory, output and workspace from torch's allocator
// (so that CUDA graphs capture them), one billfish_gemm on torch's current stream. No synchronisation, nothing read back.
#include <nanobind/stl/string.h>

#include <stdexcept>

#include "common.hpp"
#include "torch_tensor.hpp"
#include "torch_zeros.hpp"

namespace billfish_python {
namespace {

std::int64_t round_up(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }

// Rows of a [..., width] tensor and their stride.
struct Rows {
  std::int64_t m = 1, stride = 0;
};
Rows rows_of(const Tensor& tensor, const char* name, std::int64_t width) {
  if (tensor.rank == 0 || tensor.sizes[tensor.rank - 1] != width) {
    torch_invalid(std::string(name) + " is " + tensor.text() + "; its last dimension must be " + std::to_string(width));
  }
  const std::int64_t last = tensor.rank - 1;
  const bool empty = tensor.elements == 0;  // then strides mean nothing
  if (!empty && width > 1 && tensor.strides[last] != 1) {
    torch_invalid(std::string(name) + " has an inner stride of " + std::to_string(tensor.strides[last]) + "; it must be 1");
  }
  Rows rows{1, width};
  bool first = true;
  for (std::int64_t i = last; i-- > 0;) {
    if (tensor.sizes[i] != 1) {
      if (first) {
        rows.stride = tensor.strides[i];
      } else if (!empty && tensor.strides[i] != rows.stride * rows.m) {
        torch_invalid(std::string(name) + " has rows that do not lie at one stride; make it contiguous");
      }
      first = false;
    }
    rows.m *= tensor.sizes[i];
  }
  if (!empty && rows.m > 1 && rows.stride < width) {
    torch_invalid(std::string(name) + " has a row stride of " + std::to_string(rows.stride) + "; it must be " + std::to_string(width) +
                  " or more");
  }
  return rows;
}

billfish_element_type element_of(const Tensor& tensor, const char* name) {
  const auto type = torch_element(tensor.dtype);
  if (!type) torch_invalid(std::string(name) + " is " + tensor.text() + "; supported are float32, float16 and bfloat16");
  return *type;
}

// Multiplies into `out` ([m, n], row stride ldc), with zeros of the stream or scratch memory of this call's own.
void multiply(const billfish_weights& weights, const Tensor& a, const Rows& rows, const Tensor& out, std::int64_t ldc,
              std::int64_t precision, std::int64_t flags) {
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.m = rows.m;
  args.a = a.data;
  args.lda = rows.stride;
  args.c = out.data;
  args.ldc = ldc;
  args.a_type = element_of(a, "a");
  args.c_type = element_of(out, "the output");
  args.precision = static_cast<billfish_precision>(precision);
  args.flags = static_cast<std::uint32_t>(flags);
  if (args.m == 0) return;
  if (a.is_cuda()) {
    void* stream = nullptr;
    if (torch_api.get_current_cuda_stream == nullptr || torch_api.get_current_cuda_stream(a.device_index, &stream) != 0) {
      throw std::runtime_error("billfish: this torch did not tell its current CUDA stream");
    }
    const bool has_zeros = use_zeros(ask_for_zeros(weights, args), weights, args, stream);
    if (!has_zeros) torch_check(billfish_gemm_workspace(&weights, &args, &args.workspace_bytes));
    // Torch's allocator knows the stream: the memory may be reused as soon as the tensor is gone, by later work of that stream.
    Tensor workspace;
    if (!has_zeros && args.workspace_bytes > 0) {
      const auto bytes = static_cast<std::int64_t>(args.workspace_bytes);
      workspace = Tensor::empty(&bytes, 1, torch_api.u8, a.device_type, a.device_index);
      args.workspace = workspace.data;
    }
    torch_check(billfish_gemm(&weights, &args, stream));
    return;
  }
  torch_check(multiply_on_cpu(weights, args));
}

struct Parts {
  Tensor codes, scales, zeros, g_idx, perm, bias;
};

// Fills the struct from checked tensors. `padded_n` columns lie in codes and scales.
void describe_weights(const Parts& parts, const Tensor& a, std::int64_t padded_k, std::int64_t padded_n, billfish_weights& weights) {
  const bool four = weights.type == BILLFISH_U4B8 || weights.type == BILLFISH_U4;
  const std::int64_t bits = four ? 4 : 8;
  const std::int64_t groups = weights.group <= 0 || weights.group >= weights.k ? 1 : (weights.k + weights.group - 1) / weights.group;
  const auto scale_type = torch_element(parts.scales.dtype);
  if (!scale_type) torch_invalid("scales is " + parts.scales.text() + "; supported are float32, float16 and bfloat16");
  require_tensor(parts.codes, "codes", torch_api.i32, a);
  require_size(parts.codes, "codes", padded_k / 16, padded_n * bits / 2);
  require_tensor(parts.scales, "scales", parts.scales.dtype, a);
  require_size(parts.scales, "scales", groups, padded_n);
  weights.codes = parts.codes.data;
  weights.scales = parts.scales.data;
  weights.scale_type = *scale_type;
  const bool stored = weights.type == BILLFISH_U4 || weights.type == BILLFISH_U8;
  if (stored != parts.zeros.given()) {
    torch_invalid(stored ? "zeros is missing; types u4 and u8 store zero points" : "zeros is given; types u4b8 and u8b128 have none");
  }
  if (parts.zeros.given()) {
    require_tensor(parts.zeros, "zeros", torch_api.i32, a);
    require_size(parts.zeros, "zeros", groups, padded_n * bits / 32);
    weights.zeros = parts.zeros.data;
  }
  if (parts.perm.given()) {
    require_tensor(parts.perm, "perm", torch_api.i32, a);
    require_size(parts.perm, "perm", weights.k, -1);
    weights.perm = static_cast<std::int32_t*>(parts.perm.data);
  }
  if (parts.g_idx.given()) {
    require_tensor(parts.g_idx, "g_idx", torch_api.i32, a);
    require_size(parts.g_idx, "g_idx", weights.k, -1);
    weights.g_idx = static_cast<std::int32_t*>(parts.g_idx.data);
  }
  if (parts.bias.given()) {
    const billfish_element_type type = element_of(parts.bias, "bias");
    require_tensor(parts.bias, "bias", parts.bias.dtype, a);
    require_size(parts.bias, "bias", weights.n, -1);
    weights.bias = parts.bias.data;
    weights.bias_type = type;
  }
  weights.device_kind = a.is_cuda() ? BILLFISH_CUDA : BILLFISH_CPU;
  weights.device_index = a.is_cuda() ? a.device_index : 0;
}

// One number for all of a matrix that tensors do not say: every integer argument costs the dispatcher 0.3 us. encode_config in
// billfish/torch/operators.py is the other side.
struct Config {
  explicit Config(std::int64_t word) : bits(static_cast<std::uint64_t>(word)) {}
  std::int64_t field(int begin, int width) const { return static_cast<std::int64_t>(bits >> begin & ((std::uint64_t{1} << width) - 1)); }
  std::int64_t type() const { return field(0, 4); }
  std::int64_t precision() const { return field(4, 4); }
  std::int64_t gemm_flags() const { return field(8, 8); }
  std::int64_t weight_flags() const { return field(16, 4); }
  std::int64_t k_padding() const { return field(20, 4); }  // padded_k - k
  std::int64_t n_padding() const { return field(24, 8); }  // padded_n - n
  std::int64_t group() const { return field(32, 31); }     // 0: one group
  std::uint64_t bits;
};

// gemm(a, codes, scales, zeros?, g_idx?, perm?, bias?, config) -> [..., n]
void gemm(StableIValue* stack, std::uint64_t, std::uint64_t) {
  Arguments arguments(stack);
  const Tensor a = arguments.tensor();
  Parts parts;
  parts.codes = arguments.tensor();
  parts.scales = arguments.tensor();
  parts.zeros = arguments.optional_tensor();
  parts.g_idx = arguments.optional_tensor();
  parts.perm = arguments.optional_tensor();
  parts.bias = arguments.optional_tensor();
  const Config config(arguments.integer());
  if (config.type() > BILLFISH_U8 || config.n_padding() > 63) {
    torch_invalid("config is " + std::to_string(config.bits) + ", which encode_config does not make");
  }
  if (parts.codes.rank != 2) torch_invalid("codes is " + parts.codes.text() + "; it must be [padded_k / 16, padded_n * bits / 2]");
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  weights.type = static_cast<billfish_weight_type>(config.type());
  const std::int64_t padded_k = parts.codes.sizes[0] * 16;
  const std::int64_t padded_n = parts.codes.sizes[1] / (weights.type == BILLFISH_U4B8 || weights.type == BILLFISH_U4 ? 2 : 4);
  weights.k = padded_k - config.k_padding();
  weights.n = padded_n - config.n_padding();
  weights.group = config.group() == 0 ? -1 : config.group();
  weights.flags = static_cast<std::uint32_t>(config.weight_flags());
  if (weights.k < 1 || weights.n < 1) torch_invalid("codes is " + parts.codes.text() + ", too small for its padding");
  const Rows rows = rows_of(a, "a", weights.k);
  describe_weights(parts, a, padded_k, round_up(weights.n, 64), weights);
  std::int64_t small[8];
  std::vector<std::int64_t> large;
  std::int64_t* sizes = small;
  if (a.rank > 8) {
    large.resize(static_cast<std::size_t>(a.rank));
    sizes = large.data();
  }
  for (std::int64_t i = 0; i + 1 < a.rank; ++i) sizes[i] = a.sizes[i];
  sizes[a.rank - 1] = weights.n;
  Tensor out = Tensor::empty(sizes, a.rank, a.dtype, a.device_type, a.device_index);
  multiply(weights, a, rows, out, weights.n, config.precision(), config.gemm_flags());
  stack[0] = reinterpret_cast<StableIValue>(out.release());
}

// Least significant first: exponent bits 8 | mantissa bits 8 | signed 1 | bias 32. Only the four of billfish.h.
billfish_weight_type type_of_id(std::int64_t id) {
  const auto number = [](std::int64_t bits, std::int64_t bias) { return bits << 8 | bias << 17; };
  if (id == number(4, 8)) return BILLFISH_U4B8;
  if (id == number(4, 0)) return BILLFISH_U4;
  if (id == number(8, 128)) return BILLFISH_U8B128;
  if (id == number(8, 0)) return BILLFISH_U8;
  throw std::runtime_error("[not implemented] billfish: b_type_id is " + std::to_string(id) +
                           "; supported are uint4b8, uint4, uint8b128 and uint8");
}

// vLLM's marlin_gemm, and marlin_gemm_out which writes into c. See billfish/torch/vllm.py for the arguments.
void marlin(StableIValue* stack, bool into_c) {
  Arguments arguments(stack);
  const Tensor a = arguments.tensor();
  const Tensor c = into_c ? arguments.tensor() : arguments.optional_tensor();
  Parts parts;
  parts.codes = arguments.tensor();
  parts.bias = arguments.optional_tensor();
  parts.scales = arguments.tensor();
  const Tensor a_scales = arguments.optional_tensor(), global_scale = arguments.optional_tensor();
  parts.zeros = arguments.optional_tensor();
  parts.g_idx = arguments.optional_tensor();
  parts.perm = arguments.optional_tensor();
  const Tensor workspace = arguments.tensor();  // theirs must be zero on exit: ours is our own, and theirs is left alone
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  weights.type = type_of_id(arguments.integer());
  const std::int64_t m = arguments.integer();
  weights.n = arguments.integer();
  weights.k = arguments.integer();
  const bool is_k_full = arguments.boolean();
  arguments.boolean();  // use_atomic_add: never, results are deterministic
  arguments.boolean();  // use_fp32_reduce: always
  const bool is_zp_float = arguments.boolean();
  const auto refuse = [](const char* why) { throw std::runtime_error(std::string("[not implemented] billfish: ") + why); };
  if (a_scales.given()) refuse("a_scales is given; 8-bit activations are not supported");
  if (global_scale.given()) refuse("global_scale is given; 4-bit floating-point weights are not supported");
  if (is_zp_float) refuse("is_zp_float is set; float zero points are not supported");
  if (parts.g_idx.given() && !is_k_full) refuse("is_k_full is false with an activation order; a shard of K is not supported");
  // Of a whole K in equal groups, sorted g_idx is k / group: perm says all. CUDA kernels take no other.
  if (a.is_cuda() && parts.perm.given()) parts.g_idx = Tensor();
  if (!into_c && c.given()) refuse("c is given to the operator; billfish.torch.marlin_gemm writes into it");
  if (weights.k < 16 || weights.k % 16 != 0) torch_invalid("size_k is " + std::to_string(weights.k) + "; it must be a multiple of 16");
  if (weights.n < 64 || weights.n % 64 != 0) torch_invalid("size_n is " + std::to_string(weights.n) + "; it must be a multiple of 64");
  if (parts.scales.rank != 2 || parts.scales.sizes[0] < 1) torch_invalid("b_scales is " + parts.scales.text() + "; it must be [groups, N]");
  const std::int64_t groups = parts.scales.sizes[0];
  if (weights.k % groups != 0) {
    torch_invalid("b_scales has " + std::to_string(groups) + " rows, which does not divide size_k, " + std::to_string(weights.k));
  }
  weights.group = groups == 1 ? -1 : weights.k / groups;
  weights.flags = parts.bias.given() ? BILLFISH_WEIGHTS_BIAS_PERMUTED : 0;
  const Rows rows = rows_of(a, "a", weights.k);
  if (a.rank != 2 || rows.m != m) torch_invalid("a is " + a.text() + "; it must be [size_m, size_k], and size_m is " + std::to_string(m));
  describe_weights(parts, a, weights.k, weights.n, weights);
  if (into_c) {
    require_tensor(c, "c", a.dtype, a);
    require_size(c, "c", m, weights.n);
    multiply(weights, a, rows, c, weights.n, 0, 0);
    return;
  }
  const std::int64_t sizes[] = {m, weights.n};
  Tensor out = Tensor::empty(sizes, 2, a.dtype, a.device_type, a.device_index);
  multiply(weights, a, rows, out, weights.n, 0, 0);
  stack[0] = reinterpret_cast<StableIValue>(out.release());
}
void marlin_gemm(StableIValue* stack, std::uint64_t, std::uint64_t) { marlin(stack, false); }
void marlin_gemm_out(StableIValue* stack, std::uint64_t, std::uint64_t) { marlin(stack, true); }

// repack(codes, awq, k, n, bits) -> int32 [k / 16, n * bits / 2]: codes of GPTQ or AWQ into Marlin bytes, on their device.
// The packer takes whole matrices: scales and zeros of one group come from scratch memory and go there.
void repack(StableIValue* stack, std::uint64_t, std::uint64_t) {
  Arguments arguments(stack);
  const Tensor codes = arguments.tensor();
  const bool awq = arguments.boolean();
  const std::int64_t k = arguments.integer(), n = arguments.integer(), bits = arguments.integer();
  if (bits != 4 && bits != 8) torch_invalid("num_bits is " + std::to_string(bits) + "; supported are 4 and 8");
  if (awq && bits != 4) throw std::runtime_error("[not implemented] billfish: AWQ of 8 bits is not supported; num_bits must be 4");
  if (k < 16 || k % 16 != 0) torch_invalid("size_k is " + std::to_string(k) + "; it must be a multiple of 16, 16 or more");
  if (n < 64 || n % 64 != 0) torch_invalid("size_n is " + std::to_string(n) + "; it must be a multiple of 64, 64 or more");
  require_tensor(codes, "b_q_weight", torch_api.i32, codes);
  require_size(codes, "b_q_weight", awq ? k : k * bits / 32, awq ? n * bits / 32 : n);
  const std::int64_t sizes[] = {k / 16, n * bits / 2};
  Tensor out = Tensor::empty(sizes, 2, torch_api.i32, codes.device_type, codes.device_index);
  if (!codes.is_cuda() && !awq) {
    torch_check(billfish_repack_gptq_to_marlin(static_cast<const std::int32_t*>(codes.data), static_cast<std::int32_t*>(out.data), k, n,
                                               static_cast<int>(bits)));
  } else {
    const std::int64_t scratch_bytes = 8 * n;  // scales in and out (f16), zeros in and out (at most 4 bits used of 16)
    Tensor scratch = Tensor::empty(&scratch_bytes, 1, torch_api.u8, codes.device_type, codes.device_index);
    auto* memory = static_cast<std::uint16_t*>(scratch.data);
    if (!codes.is_cuda()) std::fill(memory, memory + 4 * n, std::uint16_t{0x3c00});  // ones: on the CPU scales are validated
    billfish_matrix matrix = BILLFISH_MATRIX_INIT;
    matrix.format = awq ? BILLFISH_FORMAT_AWQ : BILLFISH_FORMAT_GPTQ_V2;
    matrix.type = awq ? BILLFISH_U4 : bits == 4 ? BILLFISH_U4B8 : BILLFISH_U8B128;
    matrix.n = n;
    matrix.k = k;
    matrix.group = -1;
    matrix.codes = codes.data;
    matrix.scales = memory;
    matrix.scale_type = BILLFISH_F16;
    matrix.zeros = awq ? memory + n : nullptr;
    matrix.device_kind = codes.is_cuda() ? BILLFISH_CUDA : BILLFISH_CPU;
    matrix.device_index = codes.is_cuda() ? codes.device_index : 0;
    billfish_weights weights = BILLFISH_WEIGHTS_INIT;
    weights.codes = out.data;
    weights.scales = memory + 2 * n;
    weights.zeros = awq ? memory + 3 * n : nullptr;
    weights.device_kind = matrix.device_kind;
    weights.device_index = matrix.device_index;
    void* stream = nullptr;
    if (codes.is_cuda() &&
        (torch_api.get_current_cuda_stream == nullptr || torch_api.get_current_cuda_stream(codes.device_index, &stream) != 0)) {
      throw std::runtime_error("billfish: this torch did not tell its current CUDA stream");
    }
    torch_check(billfish_pack(&matrix, &weights, codes.is_cuda() ? nullptr : shared_parallel(), stream));
  }
  stack[0] = reinterpret_cast<StableIValue>(out.release());
}

}  // namespace

billfish_status multiply_on_cpu(const billfish_weights& weights, billfish_gemm_args& args) {
  struct Scratch {
    Memory memory;
    std::size_t bytes = 0;
  };
  static thread_local Scratch scratch;  // grows to the largest call of the thread
  args.parallel = shared_parallel();
  args.workspace = scratch.memory.get();
  args.workspace_bytes = scratch.bytes;
  billfish_status status = billfish_gemm(&weights, &args, nullptr);
  // Asked only when refused: a question between products makes the library plan each of them anew.
  if (status == BILLFISH_WORKSPACE_TOO_SMALL) {
    args.workspace = nullptr;
    const billfish_status asked = billfish_gemm_workspace(&weights, &args, &args.workspace_bytes);
    if (asked != BILLFISH_OK) return asked;
    scratch.bytes = 0;
    scratch.memory = allocate(args.workspace_bytes);
    scratch.bytes = args.workspace_bytes;
    args.workspace = scratch.memory.get();
    status = billfish_gemm(&weights, &args, nullptr);
  }
  return status;
}

void bind_torch(nb::module_& module) {
  module.def(
      "register_torch_kernels",
      [](const std::string& name_space) {
        torch_api.load();
        const std::string& name = *new std::string(name_space);  // torch keeps libraries, and pointers into them, for ever
        for (const char* key : {"CPU", "CUDA"}) {
          LibraryHandle library = nullptr;
          std::int32_t failed = torch_api.library_init_impl(name.c_str(), key, "billfish", 0, &library);
          const auto enter = [&](const char* function, BoxedKernel kernel) {
            if (failed == 0) failed = torch_api.library_impl(library, function, kernel);
          };
          enter("gemm", &gemm);
          enter("marlin_gemm", &marlin_gemm);
          enter("marlin_gemm_out", &marlin_gemm_out);
          enter("repack", &repack);
          if (failed != 0) throw std::runtime_error("torch refused the kernels of " + name_space + " for " + key);
        }
      },
      nb::arg("name_space"));
  module.def("use_torch_shortcuts", [](bool use) { torch_api.find_shortcuts(use); });  // for tests of the slower ways
  module.def("prepare_cuda", [](int device) { check(billfish_prepare(BILLFISH_CUDA, device)); });
}

}  // namespace billfish_python
