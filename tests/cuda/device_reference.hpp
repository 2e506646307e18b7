// SPDX-License-Identifier: Apache-2.0
// A product on the device in double, straight from the layout functions: what large problems are checked against. The oracle checks it
// (device_reference_test.cu). Called by support_gpu_test.cpp.
#pragma once

#include <cstdint>

#include "core/matrix.hpp"

namespace billfish::cuda_test {

// dense[k][n] = float(scale) * (code - zero), f32, original row order. All device memory.
void dequantize_on_device(const PackedMatrix& weights, float* dense);
// y = a dense + bias and magnitude = |a| |dense| + |bias|, [m, n], in double.
void multiply_in_double(const PackedMatrix& weights, const float* dense, const void* a, ElementType a_type, std::int64_t m,
                        std::int64_t lda, bool bias, double* y, double* magnitude);
// How many elements of c [m, n] differ from y by more than relative_y * |y| + relative_magnitude * magnitude + absolute (or are not finite
// where y is, or the reverse); the first of them, -1 if none; sums of |c - y| and |y|.
struct Comparison {
  unsigned long long wrong = 0;
  long long first = -1;
  double difference = 0, reference = 0;
};
struct Tolerance {
  double relative_y = 0, relative_magnitude = 0, absolute = 0;
};
Comparison compare_on_device(const void* c, ElementType c_type, std::int64_t m, std::int64_t n, std::int64_t ldc, const double* y,
                             const double* magnitude, const Tolerance& tolerance);

}  // namespace billfish::cuda_test
