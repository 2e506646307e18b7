// SPDX-License-Identifier: Apache-2.0
// billfish_hessian_add, billfish_quantize_matrix, billfish_awq_scales, billfish_quantize_device: the arguments are checked here, the work
// is in quantize/ and, on a device, in cuda/quantize/.
#include "quantize/quantize.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "api/arguments.hpp"
#include "api/quantize_arguments.hpp"
#include "billfish/billfish_quantize.h"
#include "cuda/quantize/engine.hpp"

namespace billfish::api {
namespace {

using quantize::ActOrder;
using quantize::Method;

static_assert(static_cast<int>(Method::nearest) == BILLFISH_QUANTIZE_RTN && static_cast<int>(Method::gptq) == BILLFISH_QUANTIZE_GPTQ);
static_assert(static_cast<int>(Method::awq) == BILLFISH_QUANTIZE_AWQ && static_cast<int>(ActOrder::none) == BILLFISH_ACT_ORDER_NONE);
static_assert(static_cast<int>(ActOrder::fixed) == BILLFISH_ACT_ORDER_STATIC);
static_assert(static_cast<int>(ActOrder::by_group) == BILLFISH_ACT_ORDER_GROUP);

constexpr const char* kElementTypes = "0 (f32), 1 (f16), 2 (bf16)";

Status bad_size(const std::string& name, std::int64_t value, const std::string& supported) {
  return invalid_argument(name + " is " + std::to_string(value) + "; " + supported);
}

// A matrix whose bytes in f32, and in f64, can be counted: everything after this multiplies freely.
Status check_extent(const char* rows_name, std::int64_t rows, const char* columns_name, std::int64_t columns) {
  if (rows < 0) return bad_size(rows_name, rows, "it must be 0 or more");
  if (columns < 0) return bad_size(columns_name, columns, "it must be 0 or more");
  const auto elements = checked_multiply(rows, columns);
  if (elements.has_value() && checked_multiply(*elements, 16).has_value()) return {};
  return invalid_argument(std::string(rows_name) + " is " + std::to_string(rows) + " and " + columns_name + " is " +
                          std::to_string(columns) + "; a matrix of that size has more bytes than a 64-bit size can count");
}

// 0 stands for `least`.
Status read_stride(const char* name, std::int64_t given, std::int64_t rows, std::int64_t least, std::int64_t& out) {
  out = given == 0 ? least : given;
  if (out < least) return bad_size(name, given, "it must be 0 or at least k = " + std::to_string(least));
  const auto last = checked_multiply(rows, out);
  if (!last.has_value() || !checked_multiply(*last, 8).has_value()) {
    return bad_size(name, given, "the last of " + std::to_string(rows) + " rows lies farther away than a 64-bit size can count");
  }
  return {};
}

Status check_floats(const char* name, const void* pointer, ElementType type) {
  if (is_aligned(pointer, static_cast<std::uintptr_t>(bytes_of(type)))) return {};
  return invalid_argument(std::string(name) + " is not aligned to its elements' " + std::to_string(bytes_of(type)) + " bytes");
}

}  // namespace

namespace {

// Null for the CPU.
Status read_engine(const char* kind_name, const char* index_name, const billfish_device_kind& kind, int index,
                   std::unique_ptr<quantize::Engine>& engine) {
  Device device;
  BILLFISH_RETURN_IF_ERROR(read_device(kind_name, index_name, kind, index, device));
  if (device.kind == DeviceKind::cpu) return {};
  Result<std::unique_ptr<quantize::Engine>> made = cuda::quantize_engine(device.index);
  if (!made.ok()) return made.status();
  engine = std::move(*made);
  return {};
}

}  // namespace

Status read_quantize_device(const billfish_quantize_options* given, std::unique_ptr<quantize::Engine>& engine, quantize::Options& out) {
  billfish_quantize_options o;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, "options", o));
  BILLFISH_RETURN_IF_ERROR(read_engine("options->device_kind", "options->device_index", o.device_kind, o.device_index, engine));
  out.engine = engine.get();
  return {};
}

Status read_quantize_options(const billfish_quantize_options* given, std::int64_t k, quantize::Options& out) {
  billfish_quantize_options o;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, "options", o));
  BILLFISH_RETURN_IF_ERROR(check_reserved("options->reserved", o.reserved));
  if (o.reserved_int != 0) return bad_size("options->reserved_int", o.reserved_int, "reserved fields must be 0");
  BILLFISH_RETURN_IF_ERROR(read_enum("options->method", o.method, 3, "0 (rtn), 1 (gptq), 2 (awq)", out.method));
  BILLFISH_RETURN_IF_ERROR(read_enum("options->type", o.type, 4, "0 (u4b8), 1 (u4), 2 (u8b128), 3 (u8)", out.type));
  BILLFISH_RETURN_IF_ERROR(read_enum("options->scale_type", o.scale_type, 3, kElementTypes, out.scale_type));
  BILLFISH_RETURN_IF_ERROR(read_enum("options->act_order", o.act_order, 3, "0 (none), 1 (static), 2 (group)", out.act_order));
  if (o.group < -1 || o.group == 0) {
    return bad_size("options->group", o.group, "supported are a positive number of codes, or -1 for one group of all");
  }
  if (o.clip != 0 && o.clip != 1) return bad_size("options->clip", o.clip, "it must be 0 or 1");
  if (!(o.damping >= 0.0) || !std::isfinite(o.damping)) {
    return invalid_argument("options->damping is " + std::to_string(o.damping) + "; it must be 0 (the default, 0.01) or a positive number");
  }
  out.group = resolve_group(o.group, k);
  out.clip = o.clip != 0;
  if (o.damping > 0.0) out.damping = o.damping;
  out.seed = o.seed;
  return read_parallel(o.parallel, out.parallel);
}

namespace {

// NULL is no samples.
Status read_samples(const billfish_samples* given, std::int64_t k, quantize::Samples& out) {
  if (given == nullptr) return {};
  billfish_samples s;
  BILLFISH_RETURN_IF_ERROR(read_struct(given, "samples", s));
  BILLFISH_RETURN_IF_ERROR(check_reserved("samples->reserved", s.reserved));
  if (s.reserved_int != 0) return bad_size("samples->reserved_int", s.reserved_int, "reserved fields must be 0");
  if (s.x != nullptr) {
    BILLFISH_RETURN_IF_ERROR(read_enum("samples->x_type", s.x_type, 3, kElementTypes, out.x_type));
    BILLFISH_RETURN_IF_ERROR(check_extent("samples->tokens", s.tokens, "k", k));
    if (s.tokens == 0) return bad_size("samples->tokens", 0, "samples->x is set, so there must be some");
    BILLFISH_RETURN_IF_ERROR(read_stride("samples->ldx", s.ldx, s.tokens, k, out.ld));
    BILLFISH_RETURN_IF_ERROR(check_floats("samples->x", s.x, out.x_type));
    out.x = s.x;
    out.tokens = s.tokens;
  }
  if (s.hessian != nullptr) {
    if (s.count < 0) return bad_size("samples->count", s.count, "it must be 0 (not known) or the number of tokens");
    BILLFISH_RETURN_IF_ERROR(check_extent("k", k, "k", k));
    BILLFISH_RETURN_IF_ERROR(check_floats("samples->hessian", s.hessian, ElementType::f32));
    out.hessian = s.hessian;
    out.count = s.count;
  }
  return {};
}

Status read_weights_of(const char* name, const float* data, std::int64_t n, std::int64_t k, std::int64_t ld, quantize::Weights& out) {
  BILLFISH_RETURN_IF_ERROR(check_extent("n", n, "k", k));
  BILLFISH_RETURN_IF_ERROR(read_stride("ldw", ld, n, k, out.ld));
  if (n > 0 && k > 0) {
    if (data == nullptr) return null_argument(name);
    BILLFISH_RETURN_IF_ERROR(check_floats(name, data, ElementType::f32));
  }
  out.data = data;
  out.n = n;
  out.k = k;
  return {};
}

Status need_samples(Method method, const quantize::Samples& samples) {
  if (samples.any() || method == Method::nearest) return {};
  return invalid_argument(std::string("samples has neither x nor hessian; ") + (method == Method::gptq ? "GPTQ" : "AWQ") +
                          " needs one of them, only round to nearest goes without");
}

Status add_moments(const void* x, const billfish_element_type& x_type, std::int64_t tokens, std::int64_t k, std::int64_t ldx,
                   float* hessian, std::int64_t* count, const billfish_parallel* parallel, quantize::Engine* engine) {
  ElementType type = ElementType::f32;
  Parallel workers;
  std::int64_t stride = 0;
  BILLFISH_RETURN_IF_ERROR(read_enum("x_type", x_type, 3, kElementTypes, type));
  BILLFISH_RETURN_IF_ERROR(check_extent("tokens", tokens, "k", k));
  BILLFISH_RETURN_IF_ERROR(check_extent("k", k, "k", k));
  BILLFISH_RETURN_IF_ERROR(read_stride("ldx", ldx, tokens, k, stride));
  BILLFISH_RETURN_IF_ERROR(read_parallel(parallel, workers));
  if (count == nullptr) return null_argument("count");
  if (*count < 0) return bad_size("*count", *count, "it must be 0, or what the call before made of it");
  if (!checked_add(*count, tokens).has_value()) return bad_size("*count", *count, "with these tokens it leaves 64 bits");
  if (tokens == 0 || k == 0) return {};
  if (x == nullptr) return null_argument("x");
  if (hessian == nullptr) return null_argument("hessian");
  BILLFISH_RETURN_IF_ERROR(check_floats("x", x, type));
  BILLFISH_RETURN_IF_ERROR(check_floats("hessian", hessian, ElementType::f32));
  return quantize::hessian_add(x, type, tokens, k, stride, hessian, *count, workers, engine);
}

Status quantize_one(const billfish_quantize_options* options, const float* weights, std::int64_t n, std::int64_t k, std::int64_t ldw,
                    const billfish_samples* samples, billfish_quantized* out) {
  quantize::Options job;
  quantize::Weights source;
  quantize::Samples known;
  BILLFISH_RETURN_IF_ERROR(read_weights_of("weights", weights, n, k, ldw, source));
  BILLFISH_RETURN_IF_ERROR(read_quantize_options(options, k, job));
  BILLFISH_RETURN_IF_ERROR(read_samples(samples, k, known));
  BILLFISH_RETURN_IF_ERROR(need_samples(job.method, known));
  billfish_quantized result;
  BILLFISH_RETURN_IF_ERROR(read_struct(out, "out", result));
  BILLFISH_RETURN_IF_ERROR(check_reserved("out->reserved", result.reserved));
  quantize::Quantized target;
  if (n > 0 && k > 0) {
    if (result.codes == nullptr) return null_argument("out->codes");
    if (result.scales == nullptr) return null_argument("out->scales");
    if (has_zeros(job.type) != (result.zeros != nullptr)) {
      return invalid_argument(std::string("out->zeros is ") + (result.zeros == nullptr ? "NULL" : "set") + "; the type " +
                              std::string(name_of(job.type)) + (has_zeros(job.type) ? " has stored zeros" : " has none"));
    }
    BILLFISH_RETURN_IF_ERROR(check_floats("out->scales", result.scales, job.scale_type));
    target.codes = result.codes;
    target.zeros = result.zeros;
    target.scales = result.scales;
    std::unique_ptr<quantize::Engine> engine;
    BILLFISH_RETURN_IF_ERROR(read_quantize_device(options, engine, job));
    BILLFISH_RETURN_IF_ERROR(quantize::quantize_matrix(job, source, known, target));
  }
  result.weight_error = target.weight_error;
  result.output_error = target.output_error;
  result.nearest_weight_error = target.nearest_weight_error;
  result.nearest_output_error = target.nearest_output_error;
  result.damping = target.damping;
  result.dead_columns = target.dead_columns;
  result.clipped_groups = target.clipped_groups;
  write_struct(result, out);
  return {};
}

Status find_scales(const billfish_quantize_options* options, const float* const* weights, const std::int64_t* n, std::int64_t count,
                   std::int64_t k, const billfish_samples* samples, float* scales, double* losses, std::int64_t* best) {
  quantize::Options job;
  quantize::Samples known;
  if (k < 1) return bad_size("k", k, "it must be 1 or more");
  if (count < 1) return bad_size("count", count, "there must be a matrix");
  if (weights == nullptr) return null_argument("weights");
  if (n == nullptr) return null_argument("n");
  if (scales == nullptr) return null_argument("scales");
  BILLFISH_RETURN_IF_ERROR(read_quantize_options(options, k, job));
  BILLFISH_RETURN_IF_ERROR(read_samples(samples, k, known));
  BILLFISH_RETURN_IF_ERROR(need_samples(Method::awq, known));
  std::vector<quantize::Weights> sources(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string name = "weights[" + std::to_string(i) + "]";
    BILLFISH_RETURN_IF_ERROR(read_weights_of(name.c_str(), weights[i], n[i], k, 0, sources[static_cast<std::size_t>(i)]));
  }
  Result<quantize::AwqScales> found = quantize::awq_scales(job, sources, known);
  if (!found.ok()) return found.status();
  for (std::int64_t i = 0; i < k; ++i) scales[i] = found->scales[static_cast<std::size_t>(i)];
  for (std::size_t i = 0; losses != nullptr && i < found->losses.size() && i < BILLFISH_AWQ_RATIOS; ++i) losses[i] = found->losses[i];
  if (best != nullptr) *best = found->best;
  return {};
}

}  // namespace
}  // namespace billfish::api

extern "C" {

billfish_status billfish_hessian_add(const void* x, billfish_element_type x_type, int64_t tokens, int64_t k, int64_t ldx, float* hessian,
                                     int64_t* count, const billfish_parallel* parallel) {
  using namespace billfish::api;
  return guarded([&] { return add_moments(x, x_type, tokens, k, ldx, hessian, count, parallel, nullptr); });
}

billfish_status billfish_hessian_add_on(billfish_device_kind device_kind, int device_index, const void* x, billfish_element_type x_type,
                                        int64_t tokens, int64_t k, int64_t ldx, float* hessian, int64_t* count,
                                        const billfish_parallel* parallel) {
  using namespace billfish::api;
  return guarded([&]() -> billfish::Status {
    std::unique_ptr<billfish::quantize::Engine> engine;
    BILLFISH_RETURN_IF_ERROR(read_engine("device_kind", "device_index", device_kind, device_index, engine));
    return add_moments(x, x_type, tokens, k, ldx, hessian, count, parallel, engine.get());
  });
}

billfish_status billfish_quantize_device(billfish_device_kind device_kind, int device_index) {
  using namespace billfish::api;
  return guarded([&] {
    std::unique_ptr<billfish::quantize::Engine> engine;
    return read_engine("device_kind", "device_index", device_kind, device_index, engine);
  });
}

billfish_status billfish_quantize_matrix(const billfish_quantize_options* options, const float* weights, int64_t n, int64_t k, int64_t ldw,
                                         const billfish_samples* samples, billfish_quantized* out) {
  using namespace billfish::api;
  return guarded([&] { return quantize_one(options, weights, n, k, ldw, samples, out); });
}

billfish_status billfish_awq_scales(const billfish_quantize_options* options, const float* const* weights, const int64_t* n, int64_t count,
                                    int64_t k, const billfish_samples* samples, float* scales, double* losses, int64_t* best) {
  using namespace billfish::api;
  return guarded([&] { return find_scales(options, weights, n, count, k, samples, scales, losses, best); });
}

}  // extern "C"
