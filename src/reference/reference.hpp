// SPDX-License-Identifier: Apache-2.0
// The oracle: slow, obvious, in double. Everything else is measured against it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/matrix.hpp"
#include "core/threads.hpp"
#include "gemm/problem.hpp"

namespace billfish::gemm { struct Implementation; }

namespace billfish::reference {

// One code, zero or scale of either form, by original (k, n). Row k is original order (act order undone).
int code_at(const QuantizedMatrix&, std::int64_t k, std::int64_t n);
int zero_at(const QuantizedMatrix&, std::int64_t k, std::int64_t n);
float scale_at(const QuantizedMatrix&, std::int64_t k, std::int64_t n);
int code_at(const PackedMatrix&, std::int64_t packed_k, std::int64_t n);   // packed row order
int zero_at(const PackedMatrix&, std::int64_t packed_k, std::int64_t n);
float scale_at(const PackedMatrix&, std::int64_t packed_k, std::int64_t n);

// Marlin bytes, element by element through layout/: what pack::pack must equal.
void pack(const QuantizedMatrix& source, PackedMatrix& target);

// float(scale) * (code - zero), [k, n], original row order.
void dequantize(const PackedMatrix&, float* out, std::int64_t ld, const Parallel&);

// sum and sum of magnitudes of every element: y = A W + bias in double, and s = |A| |W| + |bias|, which error bounds are made of.
// rows x columns [n0, n1) only.
void multiply(const PackedMatrix&, const void* a, ElementType a_type, std::int64_t m, std::int64_t lda, bool bias, std::int64_t n0,
              std::int64_t n1, double* y, double* magnitude, const Parallel&);

// The largest error that element may have; derivation in docs/tolerance.md. `implementation` facts: weights rounded to the activation
// type before multiplying (GPU), precision of activations.
struct Rounding {
  ElementType a = ElementType::f32;
  ElementType c = ElementType::f32;
  Precision precision = Precision::full;
  bool weights_rounded = false;  // decoded weight rounded once to `a`'s type
  std::int64_t group = 0;        // int8: one activation scale per row and group
};
double bound(const Rounding&, std::int64_t k, double y, double magnitude);

extern const gemm::Implementation implementation;  // "reference", the last of the list

}  // namespace billfish::reference
