// SPDX-License-Identifier: Apache-2.0
// See quantize.hpp: one matrix, from checks to errors.
#include "quantize/quantize.hpp"

#include <cstring>

#include "core/half.hpp"
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

// H is made of tokens where GPTQ or a search needs it, or where multiplying by it is less work than by the tokens themselves.
Status moments_of(const Options& options, std::int64_t k, const Samples& samples, bool can_multiply, Moments& out) {
  if (samples.hessian != nullptr) {
    BILLFISH_RETURN_IF_ERROR(check_hessian(samples.hessian, k, options.parallel));
    out.h = samples.hessian;
  } else if (samples.x != nullptr) {
    BILLFISH_RETURN_IF_ERROR(check_samples(samples, k, options.parallel));
    if (options.method == Method::gptq || (can_multiply && (options.clip || samples.tokens > k / 2))) {
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

// A search judges groups one by one; in a row's outputs they meet. Rows that came out worse than without it go back to plain ones.
void keep_better_rows(const Options& options, const Weights& weights, const Quantized& plain, const Squares& of_plain, Squares& of_found,
                      Quantized& found) {
  const std::int64_t n = weights.n, groups = ceil_div(weights.k, options.group), element = bytes_of(options.scale_type);
  for (std::int64_t row = 0; row < n; ++row) {
    const auto at = static_cast<std::size_t>(row);
    const bool by_output = !of_plain.output.empty();
    if (by_output ? !(of_plain.output[at] < of_found.output[at]) : !(of_plain.weight[at] < of_found.weight[at])) continue;
    of_found.weight[at] = of_plain.weight[at];
    if (by_output) of_found.output[at] = of_plain.output[at];
    for (std::int64_t column = 0; column < weights.k; ++column) found.codes[column * n + row] = plain.codes[column * n + row];
    for (std::int64_t group = 0; group < groups; ++group) {
      const std::int64_t place = group * n + row;
      std::memcpy(static_cast<char*>(found.scales) + place * element, static_cast<const char*>(plain.scales) + place * element,
                  static_cast<std::size_t>(element));
      if (found.zeros != nullptr) found.zeros[place] = plain.zeros[place];
    }
  }
  found.clipped_groups = 0;
  for (std::int64_t place = 0; place < groups * n; ++place) {
    const float scale = load_element(found.scales, options.scale_type, place);
    found.clipped_groups += scale < 0.99f * load_element(plain.scales, options.scale_type, place) ? 1 : 0;  // rounding is no clipping
  }
}

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

  // Scaled for AWQ, a salient channel is often the largest of its group: what clips it has to know what it costs.
  const bool weighs = (options.clip || options.method == Method::awq) && !moments.diagonal.empty();
  const bool is_plain = options.method == Method::nearest && !options.clip;
  if (options.method == Method::gptq) {
    BILLFISH_RETURN_IF_ERROR(gptq(options, weights, moments.h, *largest, out));
  } else {
    const float* const importance = weighs ? moments.diagonal.data() : nullptr;
    BILLFISH_RETURN_IF_ERROR(nearest(options, weights, importance, *largest, out, options.clip ? moments.h : nullptr));
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
  Result<std::vector<Squares>> squares =
      can_multiply ? squares_of(options, weights, forms, moments.h, samples) : squares_of(options, weights, forms, nullptr, Samples());
  if (!squares.ok()) return squares.status();
  if (options.method != Method::gptq && !is_plain) {
    keep_better_rows(options, weights, plain.back().form, squares->back(), (*squares)[1], out);
  }
  const Errors own = relative((*squares)[1], squares->front()), of_plain = relative(squares->back(), squares->front());
  out.weight_error = own.weight;
  out.output_error = own.output;
  out.nearest_weight_error = of_plain.weight;
  out.nearest_output_error = of_plain.output;
  return {};
}

}  // namespace billfish::quantize
