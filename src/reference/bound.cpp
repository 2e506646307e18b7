// SPDX-License-Identifier: Apache-2.0
// How far an element may be from the exact product. docs/tolerance.md derives every term, with the names used here.
#include <algorithm>
#include <cmath>
#include <limits>

#include "gemm/registry.hpp"
#include "reference/reference.hpp"

namespace billfish::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kUnit = 0x1p-24;         // f32, to nearest
constexpr double kDouble = 0x1p-53;       // the oracle's own arithmetic
constexpr double kCutPerProduct = 3;      // units lost per product where a tensor core cuts sums off instead of rounding them
constexpr double kCutPerLoneProduct = 6;  // where all others of its step are 0
constexpr double kExtraRoundings = 8;     // scale, zero * sum, their difference, bias and conversions, beyond the chain
constexpr double kFlushed = 0x1p-101;     // per term: subnormals taken as zero

// Of probable_bound; failure probabilities as docs/tolerance.md derives them.
constexpr double kLambda = 8;        // a sum of independent signs: 2 exp(-kLambda^2 / 2) < 3e-14
constexpr double kTau = 36;          // rounding errors of a random walk: < 6.4e-13
constexpr double kFarthest = 8.5;    // root mean square, over the chains, of how far each strays: < 1e-13
constexpr double kBiasShare = 1.01;  // a bias has no random sign

double unit_of(ElementType type) { return type == ElementType::f32 ? kUnit : type == ElementType::f16 ? 0x1p-11 : 0x1p-8; }
double smallest_of(ElementType type) {  // half the distance of subnormals
  return type == ElementType::f32 ? 0x1p-150 : type == ElementType::f16 ? 0x1p-25 : 0x1p-134;
}
// From here on a value rounds to infinity.
double overflow_of(ElementType type) { return type == ElementType::f32 ? 0x1.ffffffp127 : type == ElementType::f16 ? 65520.0 : 0x1.ffp127; }

double relative_activation_error(const Rounding& r) {
  if (r.precision == Precision::bf16 && r.a != ElementType::bf16) return 0x1p-8;
  if (r.precision == Precision::full && r.activations_split && r.a == ElementType::f32) return 0x1p-16;
  return 0;
}

double relative_weight_error(const Rounding& r) {
  if (!r.weights_rounded) return 0;
  const double once = unit_of(r.a);
  return r.scales_rounded ? 2 * once + once * once : once;
}

// Roundings that one element passes through in f32, in units of kUnit. The chain of sums is what the plan says, or the worst: every product
// after the other (twice with split activations), then groups of 16 rows or more. A term of 0 rounds nothing.
double roundings(const Rounding& r, std::int64_t k, const Sums& sums) {
  const double rows = static_cast<double>(k);
  const double terms = sums.terms >= 0 ? static_cast<double>(sums.terms) : rows;
  const double worst = (r.tensor_cores ? 1.25 : 2.25) * rows + 64;
  const double chain = r.chain > 0 ? static_cast<double>(r.chain) : worst;
  if (r.tensor_cores) return std::min(kCutPerProduct * chain, kCutPerLoneProduct * terms + 64) + kExtraRoundings;
  return std::min(chain, 3 * terms + 64) + kExtraRoundings;
}

// int8: half a step of a grid of 127 steps, and the roundings of the step itself.
double int8_error(const Rounding& r) { return r.precision == Precision::int8 ? (0.5 + 0x1p-15) / 127 : 0.0; }

double summed(const Rounding& r, const Sums& sums) { return r.zeros_after_sum ? std::max(sums.unzeroed, sums.magnitude) : sums.magnitude; }

bool finite(const Sums& sums) {
  return std::isfinite(sums.y) && std::isfinite(sums.magnitude) && std::isfinite(sums.unzeroed) && std::isfinite(sums.peak);
}

double with_output_rounding(const Rounding& r, double y, double error) {
  return error + unit_of(r.c) * (std::fabs(y) + error) + smallest_of(r.c);
}

double oracle_error(std::int64_t k, const Rounding& r, const Sums& sums) {
  return (static_cast<double>(k) + 8) * kDouble * summed(r, sums);
}

// The bound without regard to overflow.
double finite_bound(const Rounding& r, std::int64_t k, const Sums& sums) {
  const double of_a = relative_activation_error(r);
  const double of_w = relative_weight_error(r);
  const double of_terms = of_a + of_w + of_a * of_w;
  const double n_units = roundings(r, k, sums) * kUnit;
  if (n_units >= 0.5) return kInfinity;  // k beyond 2^21: nothing can be promised
  const double gamma = n_units / (1 - n_units);
  const double int8 = int8_error(r) * (1 + of_w);
  const double terms = of_terms * sums.magnitude + int8 * sums.peak;
  const double flushed = static_cast<double>(k) * kFlushed;
  return with_output_rounding(r, sums.y,
                              terms + gamma * (summed(r, sums) * (1 + of_terms) + int8 * sums.peak) + oracle_error(k, r, sums) + flushed);
}

// May a partial sum leave f32?
bool overflows_inside(const Sums& sums) { return 1.01 * (sums.unzeroed + sums.peak) >= overflow_of(ElementType::f32); }

}  // namespace

Rounding rounding_of(const gemm::Problem& problem, DeviceKind device) {
  const bool cuda = device == DeviceKind::cuda;
  Rounding r;
  r.a = problem.a;
  r.c = problem.c;
  r.precision = cuda ? Precision::full : problem.precision;
  r.activations_split = !cuda;
  r.weights_rounded = cuda && !problem.wide_scales;
  r.scales_rounded = r.weights_rounded && problem.scale != problem.a;
  r.tensor_cores = cuda;
  r.zeros_after_sum = !cuda;  // decoded weights are code - zero there
  return r;
}

Rounding rounding_of(const gemm::Problem& problem, const gemm::Plan& plan) {
  Rounding r = rounding_of(problem, plan.implementation->device);
  r.chain = plan.chain;
  r.activations_split = plan.splits_activations;
  r.zeros_after_sum = plan.zeros_after_sum;
  if (plan.implementation == &implementation) {  // sums in double, one rounding at the end
    r.precision = Precision::full;
    r.activations_split = false;
    r.zeros_after_sum = false;
    r.chain = 1;
  }
  return r;
}

double bound(const Rounding& r, std::int64_t k, const Sums& sums) {
  if (!finite(sums) || overflows_inside(sums)) return kInfinity;
  const double error = finite_bound(r, k, sums);
  return std::fabs(sums.y) + error >= overflow_of(r.c) ? kInfinity : error;
}

double probable_bound(const Rounding& r, std::int64_t k, const Sums& sums) {
  const double certain = bound(r, k, sums);
  if (!std::isfinite(certain) || k == 0) return certain;
  const double of_a = relative_activation_error(r), of_w = relative_weight_error(r);
  const double of_terms = of_a + of_w + of_a * of_w;
  const double int8 = int8_error(r) * std::sqrt(sums.peak_squares) * (1 + of_w);
  const double terms = kLambda * (of_terms * std::sqrt(sums.squares) + int8);
  // One standard deviation of where the partial sums walk.
  const double walk =
      kBiasShare * (std::sqrt(r.zeros_after_sum ? std::max(sums.unzeroed_squares, sums.squares) : sums.squares) * (1 + of_terms) + int8);
  const double n = roundings(r, k, sums);
  const double chains = r.chain > 0 ? std::max(1.0, static_cast<double>(k) / static_cast<double>(r.chain)) : 1.0;
  // Rounding errors of a walk walk themselves; what a tensor core cuts off always pulls towards zero.
  const double summed_up = kUnit * walk * (r.tensor_cores ? kFarthest * n * std::sqrt(chains) : kTau * std::sqrt(n));
  const double error = terms + summed_up + oracle_error(k, r, sums) + static_cast<double>(k) * kFlushed;
  return std::min(with_output_rounding(r, sums.y, error), certain);
}

bool acceptable(const Rounding& r, std::int64_t k, const Sums& sums, double c) {
  if (!finite(sums)) return !std::isfinite(c);
  if (std::isnan(c)) return overflows_inside(sums);
  const double error = finite_bound(r, k, sums);
  if (std::isinf(c)) return overflows_inside(sums) || (std::copysign(1.0, c) * sums.y + error >= overflow_of(r.c));
  return overflows_inside(sums) || std::fabs(c - sums.y) <= error;
}

}  // namespace billfish::reference
