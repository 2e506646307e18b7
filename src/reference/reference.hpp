// SPDX-License-Identifier: Apache-2.0
// The oracle: slow, obvious, in double. Everything else is measured against it. Called by api/ (oracle, compare, verify), by every
// test of a kernel, and through gemm/ as the last implementation of the list; calls layout/.
#pragma once

#include <cstdint>
#include <vector>

#include "core/matrix.hpp"
#include "core/status.hpp"
#include "core/threads.hpp"
#include "gemm/problem.hpp"

namespace billfish::gemm {
struct Implementation;
}

namespace billfish::reference {

// One code, zero or scale of a matrix in checkpoint order, by original (k, n): act order undone, v1 zeros as they are meant. With
// Format::marlin the row is looked for in perm, which takes time k: for many elements go through pack::view_marlin and packed_rows.
int code_at(const QuantizedMatrix&, std::int64_t k, std::int64_t n);
int zero_at(const QuantizedMatrix&, std::int64_t k, std::int64_t n);
float scale_at(const QuantizedMatrix&, std::int64_t k, std::int64_t n);
std::int64_t group_at(const QuantizedMatrix&, std::int64_t k);
// By group, not by row: a group that no row belongs to has a zero and a scale as well.
int zero_of_group(const QuantizedMatrix&, std::int64_t group, std::int64_t n);
float scale_of_group(const QuantizedMatrix&, std::int64_t group, std::int64_t n);

// The same of Marlin bytes, by packed row, padding included: packed_k < padded_k, n < padded_n.
int code_at(const PackedMatrix&, std::int64_t packed_k, std::int64_t n);
int zero_at(const PackedMatrix&, std::int64_t packed_k, std::int64_t n);
float scale_at(const PackedMatrix&, std::int64_t packed_k, std::int64_t n);
std::int64_t group_at(const PackedMatrix&, std::int64_t packed_k);
int zero_of_group(const PackedMatrix&, std::int64_t group, std::int64_t n);
float scale_of_group(const PackedMatrix&, std::int64_t group, std::int64_t n);
float bias_at(const PackedMatrix&, std::int64_t n);  // 0 without a bias
// The packed row of every original row: the inverse of perm.
std::vector<std::int64_t> packed_rows(const PackedMatrix&);

// Marlin bytes, element by element through layout/: what pack::pack must equal. For sources that pack::pack accepts.
void pack(const QuantizedMatrix& source, PackedMatrix& target);

// float(scale) * (code - zero), [k, n], original row order.
void dequantize(const PackedMatrix&, float* out, std::int64_t ld, const Parallel&);

// One element of y = A W + bias in double, and what error bounds are made of.
struct Sums {
  double y = 0;
  double magnitude = 0;         // sum |a| |w| + |bias|
  double unzeroed = 0;          // sum |a| |scale| (code + zero) + |bias|: what a kernel adds up that subtracts zeros after the sum
  double squares = 0;           // sum (a w)^2 + bias^2
  double unzeroed_squares = 0;  // sum (a scale (code + zero))^2 + bias^2
  double peak = 0;              // sum over groups of max |a| * sum |w|: what one int8 scale per row and group costs
  double peak_squares = 0;      // sum over groups of max |a|^2 * sum w^2
  std::int64_t terms = -1;      // activations that are not 0 (adding nothing rounds nothing); -1: not counted, as many as k
};

// Columns [n0, n1) of all m rows; out is [m, n1 - n0].
void multiply(const PackedMatrix&, const void* a, ElementType a_type, std::int64_t m, std::int64_t lda, bool bias, std::int64_t n0,
              std::int64_t n1, Sums* out, const Parallel&);

// How an implementation rounds. docs/tolerance.md derives what follows from each fact.
struct Rounding {
  ElementType a = ElementType::f32;
  ElementType c = ElementType::f32;
  Precision precision = Precision::full;
  bool activations_split = false;  // f32 activations enter as a bf16 sum hi + lo
  bool weights_rounded = false;    // a decoded weight is rounded to a's type before it is multiplied
  bool scales_rounded = false;     // and its scale was rounded to that type before
  bool tensor_cores = false;       // sums are cut off, not rounded
  bool zeros_after_sum = true;     // zeros may be subtracted after the sum (times the sum of activations)
  std::int64_t chain = 0;          // gemm::Plan::chain; 0: not said, the worst that the device's kernels may do
};
// What may happen on such a device: every implementation there stays within it. The second takes the plan's word for its chain.
Rounding rounding_of(const gemm::Problem&, DeviceKind);
Rounding rounding_of(const gemm::Problem&, const gemm::Plan&);

// The largest error that an element of c may have, whatever the data; infinity where y is not finite or c may overflow.
double bound(const Rounding&, std::int64_t k, const Sums&);
// For activations drawn with random signs, as `verify` draws them: what a right kernel exceeds with probability below 1e-12 an element,
// rounding errors of sums taken as independent of the data. At most `bound`, usually a hundredth of it.
double probable_bound(const Rounding&, std::int64_t k, const Sums&);
// Is `c` a legal answer? |c - y| <= bound; not finite where y is not finite; infinity of y's sign where c's type may overflow.
bool acceptable(const Rounding&, std::int64_t k, const Sums&, double c);

extern const gemm::Implementation implementation;  // "reference", the last of the list

}  // namespace billfish::reference
