// SPDX-License-Identifier: Apache-2.0
// See quantize.hpp: one matrix, from checks to errors.
#include "quantize/quantize.hpp"

#include "quantize/errors.hpp"
#include "quantize/gptq.hpp"
#include "quantize/hessian.hpp"
#include "quantize/linear_algebra.hpp"
#include "quantize/nearest.hpp"
#include "quantize/panel.hpp"

namespace billfish::quantize {
namespace {

// What the caller knows of the inputs, in the form that this job needs.
struct Moments {
  Buffer<float> own;
  const float* h = nullptr;     // [k, k]
  std::vector<float> diagonal;  // of H; empty without samples
};

// H is made of tokens where GPTQ needs it, or where multiplying by it is less work than by the tokens themselves.
Status moments_of(const Options& options, std::int64_t k, const Samples& samples, bool can_multiply, Moments& out) {
  if (samples.hessian != nullptr) {
    BILLFISH_RETURN_IF_ERROR(check_hessian(samples.hessian, k, options.parallel));
    out.h = samples.hessian;
  } else if (samples.x != nullptr) {
    BILLFISH_RETURN_IF_ERROR(check_samples(samples, k, options.parallel));
    if (options.method == Method::gptq || (can_multiply && samples.tokens > k / 2)) {
      out.own = Buffer<float>(k * k);
      std::int64_t count = 0;
      BILLFISH_RETURN_IF_ERROR(
          hessian_add(samples.x, samples.x_type, samples.tokens, k, samples.ld, out.own.get(), count, options.parallel));
      out.h = out.own.get();
    }
  }
  if (out.h != nullptr) {
    for (std::int64_t i = 0; i < k; ++i) out.diagonal.push_back(out.h[i * k + i]);
  } else if (samples.x != nullptr) {
    out.diagonal = hessian_diagonal(samples, k, options.parallel);
  }
  return {};
}

// Codes and scales of plain round to nearest, to compare with.
struct Plain {
  Buffer<std::uint8_t> codes, zeros;
  Buffer<float> scales;
  Quantized form;

  Plain(const Options& options, const Weights& weights)
      : codes(weights.k * weights.n),
        zeros(has_zeros(options.type) ? ceil_div(weights.k, options.group) * weights.n : 0),
        scales(ceil_div(weights.k, options.group) * weights.n) {
    form.codes = codes.get();
    form.zeros = has_zeros(options.type) ? zeros.get() : nullptr;
    form.scales = scales.get();
  }
};

}  // namespace

Status quantize_matrix(const Options& options, const Weights& weights, const Samples& samples, Quantized& out) {
  out.damping = 0;
  out.dead_columns = 0;
  const Result<float> largest = largest_weight(weights, options.parallel);
  if (!largest.ok()) return largest.status();
  const bool can_multiply = LinearAlgebra::get().ok();
  if (options.method != Method::nearest && !can_multiply) return LinearAlgebra::get().status();
  Moments moments;
  BILLFISH_RETURN_IF_ERROR(moments_of(options, weights.k, samples, can_multiply, moments));

  const bool is_plain = options.method != Method::gptq && !options.clip;
  if (options.method == Method::gptq) {
    BILLFISH_RETURN_IF_ERROR(gptq(options, weights, moments.h, *largest, out));
  } else {
    const float* const importance = options.clip && !moments.diagonal.empty() ? moments.diagonal.data() : nullptr;
    BILLFISH_RETURN_IF_ERROR(nearest(options, weights, importance, *largest, out));
  }

  std::vector<const Quantized*> forms = {&out};
  std::vector<Plain> plain;
  if (!is_plain) {
    Options simple = options;
    simple.clip = false;
    plain.emplace_back(simple, weights);
    BILLFISH_RETURN_IF_ERROR(nearest(simple, weights, nullptr, *largest, plain.back().form));
    forms.push_back(&plain.back().form);
  }
  const Result<std::vector<Errors>> errors =
      can_multiply ? errors_of(options, weights, forms, moments.h, samples) : errors_of(options, weights, forms, nullptr, Samples());
  if (!errors.ok()) return errors.status();
  out.weight_error = errors->front().weight;
  out.output_error = errors->front().output;
  out.nearest_weight_error = errors->back().weight;
  out.nearest_output_error = errors->back().output;
  return {};
}

}  // namespace billfish::quantize
