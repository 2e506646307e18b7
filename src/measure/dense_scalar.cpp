// SPDX-License-Identifier: Apache-2.0
// Dense micro-kernels in plain C++, for machines without AVX2.
#include <bit>

#include "measure/dense_kernels.hpp"

namespace billfish::measure {
namespace {

constexpr int kColumns = 8;

float widen(float value) { return value; }
float widen(std::uint16_t value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16); }

template <int kRows, class Element>
void multiply(const float* a, const void* packed_b, std::int64_t units, float* c, std::int64_t ldc, bool accumulate) {
  const Element* b = static_cast<const Element*>(packed_b);
  float sums[kRows][kColumns] = {};
  for (std::int64_t i = 0; i < units; ++i, a += kRows, b += kColumns) {
    float row[kColumns];
    for (int j = 0; j < kColumns; ++j) row[j] = widen(b[j]);
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kColumns; ++j) sums[r][j] += a[r] * row[j];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < kColumns; ++j) c[r * ldc + j] = sums[r][j] + (accumulate ? c[r * ldc + j] : 0.0f);
  }
}

}  // namespace

const DenseKernel dense_scalar_f32 = {
    "scalar f32", 4, kColumns, 1, 1, 4, 4, false, {multiply<1, float>, multiply<2, float>, multiply<3, float>, multiply<4, float>}};
const DenseKernel dense_scalar_bf16 = {
    "scalar bf16",
    4,
    kColumns,
    1,
    1,
    4,
    2,
    true,
    {multiply<1, std::uint16_t>, multiply<2, std::uint16_t>, multiply<3, std::uint16_t>, multiply<4, std::uint16_t>}};

}  // namespace billfish::measure
