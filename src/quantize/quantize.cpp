// SPDX-License-Identifier: Apache-2.0
// See quantize.hpp: one matrix, from checks to errors.
#include "quantize/quantize.hpp"

#include <algorithm>

#include "quantize/errors.hpp"
#include "quantize/form.hpp"
#include "quantize/gptq.hpp"
#include "quantize/grid.hpp"
#include "quantize/hessian.hpp"
#include "quantize/nearest.hpp"
#include "quantize/panel.hpp"
#include "quantize/trace.hpp"
#include "quantize/with_engine.hpp"

namespace billfish::quantize {
namespace {

// What the caller knows of the inputs, in the form that this job needs.
struct Moments {
  Held<float> h;                // [k, k], or nothing
  std::vector<float> diagonal;  // of H; empty without samples
};

// H is made of tokens where GPTQ or a search needs it, or where multiplying by it is less work than by the tokens themselves.
Status moments_of(Engine& engine, const Options& options, std::int64_t k, const Samples& samples, Moments& out) {
  const bool can_multiply = engine.can_multiply().ok();
  if (samples.hessian != nullptr) {
    BILLFISH_RETURN_IF_ERROR(check_hessian(samples.hessian, k, options.parallel));
    done(engine, "looking through the second moments");
    for (std::int64_t i = 0; i < k; ++i) out.diagonal.push_back(samples.hessian[i * k + i]);
    out.h = Held<float>::of(engine, samples.hessian, k * k);
    done(engine, "second moments to the engine");
  } else if (samples.x != nullptr) {
    BILLFISH_RETURN_IF_ERROR(check_samples(samples, k, options.parallel));
    if (options.method != Method::gptq && !(can_multiply && (options.clip || samples.tokens > k / 2))) {
      out.diagonal = hessian_diagonal(samples, k, options.parallel);
      return {};
    }
    out.h = Held<float>(engine, k * k);
    BILLFISH_RETURN_IF_ERROR(add_samples(engine, samples, k, out.h.get(), 0));
    out.diagonal.resize(static_cast<std::size_t>(k));
    const Held<float> diagonal = Held<float>::for_host(engine, out.diagonal.data(), k);
    engine.diagonal(k, out.h.get(), diagonal.get());
    diagonal.to_host(engine, out.diagonal.data(), k);
    done(engine, "second moments");
  }
  return {};
}

// A search judges groups one by one; in a row's outputs they meet. Rows that came out worse than without it go back to plain ones.
std::int64_t keep_better_rows(Engine& engine, const Matrix& matrix, const Form& plain, const Squares& of_plain, Squares& of_found,
                              Form& found) {
  const std::int64_t n = matrix.n, groups = matrix.groups(), parts = matrix.parts();
  std::vector<std::uint8_t> marks(static_cast<std::size_t>(parts * kLanes), 0);
  const bool by_output = !of_plain.output.empty();
  for (std::size_t row = 0; row < static_cast<std::size_t>(n); ++row) {
    if (by_output ? !(of_plain.output[row] < of_found.output[row]) : !(of_plain.weight[row] < of_found.weight[row])) continue;
    of_found.weight[row] = of_plain.weight[row];
    if (by_output) of_found.output[row] = of_plain.output[row];
    marks[row] = 1;
  }
  const Held<std::uint8_t> held = Held<std::uint8_t>::of(engine, marks.data(), parts * kLanes);
  engine.take_rows({held.get(), n, matrix.k, groups, parts, n, plain.codes.get(), plain.grids.get(), found.codes.get(), found.grids.get()});
  const Buffer<Grid> now(groups * parts), before(groups * parts);
  found.grids.to_host(engine, now.get(), groups * parts);
  plain.grids.to_host(engine, before.get(), groups * parts);
  std::int64_t smaller = 0;
  for (std::int64_t place = 0; place < groups * parts; ++place) {
    const std::int64_t lanes = std::min<std::int64_t>(kLanes, n - place % parts * kLanes);
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      smaller += now[place].scale[lane] < 0.99f * before[place].scale[lane] ? 1 : 0;  // rounding is no clipping
    }
  }
  return smaller;
}

Status quantize_with(Engine& engine, const Options& options, const Weights& weights, const Samples& samples, Quantized& out) {
  out.damping = 0;
  out.dead_columns = 0;
  done(engine, "");  // the clock starts
  const Result<float> largest = largest_weight(weights, options.parallel);
  if (!largest.ok()) return largest.status();
  const Status can_multiply = engine.can_multiply();
  if (options.method != Method::nearest) BILLFISH_RETURN_IF_ERROR(can_multiply);
  done(engine, "looking through the weights");
  Moments moments;
  BILLFISH_RETURN_IF_ERROR(moments_of(engine, options, weights.k, samples, moments));
  BILLFISH_RETURN_IF_ERROR(check_scale_range(options, *largest));

  const std::int64_t n = weights.n, k = weights.k, elements = (n - 1) * weights.ld + k;
  const Held<float> held = Held<float>::of(engine, weights.data, elements);
  const Matrix matrix = {held.get(),
                         n,
                         k,
                         weights.ld,
                         options.group,
                         {options.type, options.scale_type, options.clip, unit_of(*largest), &best_lane_kernels()}};
  Matrix simple = matrix;
  simple.scheme.clip = false;
  Form found(engine, matrix, out.codes);
  done(engine, "weights to the engine");

  const bool is_plain = options.method == Method::nearest && !options.clip;
  if (options.method == Method::gptq) {
    BILLFISH_RETURN_IF_ERROR(gptq(engine, options, matrix, moments.h.get(), moments.diagonal, found, out));
  } else {
    // Scaled for AWQ, a salient channel is often the largest of its group: what clips it has to know what it costs.
    const bool weighs = (options.clip || options.method == Method::awq) && !moments.diagonal.empty();
    Held<float> importance;
    if (weighs) importance = Held<float>::of(engine, moments.diagonal.data(), k);
    BILLFISH_RETURN_IF_ERROR(
        nearest(engine, matrix, importance.get(), options.clip ? moments.h.get() : nullptr, found, out.clipped_groups));
  }

  std::vector<const Form*> forms = {&found};
  std::vector<Form> plain;
  if (!is_plain) {
    std::int64_t none = 0;
    plain.emplace_back(engine, simple, nullptr);
    BILLFISH_RETURN_IF_ERROR(nearest(engine, simple, nullptr, nullptr, plain.back(), none));
    forms.push_back(&plain.back());
  }
  done(engine, "rounding to nearest");
  Result<std::vector<Squares>> squares = can_multiply.ok() ? squares_of(engine, matrix, forms, moments.h.get(), samples)
                                                           : squares_of(engine, matrix, forms, nullptr, Samples());
  if (!squares.ok()) return squares.status();
  if (options.method != Method::gptq && !is_plain) {
    out.clipped_groups = keep_better_rows(engine, matrix, plain.back(), squares->back(), (*squares)[1], found);
  }
  done(engine, "errors");
  BILLFISH_RETURN_IF_ERROR(store_form(engine, matrix, found, options.parallel, out));
  done(engine, "codes and scales from the engine");
  const Errors own = relative((*squares)[1], squares->front()), of_plain = relative(squares->back(), squares->front());
  out.weight_error = own.weight;
  out.output_error = own.output;
  out.nearest_weight_error = of_plain.weight;
  out.nearest_output_error = of_plain.output;
  return {};
}

}  // namespace

Status quantize_matrix(const Options& options, const Weights& weights, const Samples& samples, Quantized& out) {
  return with_engine(options.engine, options.parallel,
                     [&](Engine& engine) { return quantize_with(engine, options, weights, samples, out); });
}

}  // namespace billfish::quantize
