// SPDX-License-Identifier: Apache-2.0
// See exact.hpp.
#include "cpu/exact.hpp"

#include "core/half.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"

namespace billfish::cpu {
namespace {

double weight_at(const PackedMatrix& w, std::int64_t k, std::int64_t n) {
  const int bits = bits_of(w.type);
  const std::int64_t group = k / w.group;
  const layout::Place code = layout::marlin_code(bits, k, n, w.padded_n());
  int zero = implicit_zero(w.type);
  if (has_zeros(w.type)) {
    const layout::Place place = layout::marlin_zero(bits, group, n, w.padded_n());
    zero = static_cast<int>(layout::field_of(w.zeros[place.word], place.shift, bits));
  }
  const int level = static_cast<int>(layout::field_of(w.codes[code.word], code.shift, bits)) - zero;
  const float scale = load_element(w.scales, w.scale_type, group * w.padded_n() + layout::marlin_scale(w.per_column(), n));
  return static_cast<double>(scale) * level;
}

}  // namespace

float bias_at(const PackedMatrix& w, std::int64_t n) {
  return load_element(w.bias, w.bias_type, w.bias_permuted ? layout::marlin_column_scale(n) : n);
}

void multiply_exactly(const gemm::Problem& problem, const gemm::Call& call, std::int64_t m0, std::int64_t m1, std::int64_t n0,
                      std::int64_t n1) {
  const PackedMatrix& w = *call.weights;
  for (std::int64_t n = n0; n < n1; ++n) {
    for (std::int64_t m = m0; m < m1; ++m) {
      double sum = 0;
      for (std::int64_t k = 0; k < w.k; ++k) {
        const std::int64_t from = w.perm != nullptr ? w.perm[k] : k;
        sum += static_cast<double>(load_element(call.a, problem.a, m * call.lda + from)) * weight_at(w, k, n);
      }
      if (call.bias) sum += static_cast<double>(bias_at(w, n));
      store_element(call.c, problem.c, m * call.ldc + n, static_cast<float>(sum));
    }
  }
}

}  // namespace billfish::cpu
