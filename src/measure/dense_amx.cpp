// SPDX-License-Identifier: Apache-2.0
// The dense micro-kernel for AMX: up to 32 rows x 32 columns, whose sums stay in registers for a stretch of K.
#include "measure/dense_kernels.hpp"

#if defined(__x86_64__)
#include <utility>

#include "measure/amx_loops.hpp"

namespace billfish::measure {
namespace {

constexpr int kColumns = 32, kUnits = 16;  // of one register

template <int kTiles>
[[gnu::always_inline]] inline void add_units(const char* a, std::int64_t rows, const char* b) {
  read_matrix<4>(a);
  read_matrix<6>(b, kColumns * 4);
  add_bf16_product<0, 4, 6>();
  read_matrix<7>(b + 64, kColumns * 4);
  add_bf16_product<1, 4, 7>();
  if constexpr (kTiles == 2) {
    read_matrix<5>(a + rows * 64);
    add_bf16_product<2, 5, 6>();
    add_bf16_product<3, 5, 7>();
  }
}

// a: [units / 16][row][16 units].
template <int kTiles>
void multiply(const float* packed_a, const void* packed_b, std::int64_t units, float* c, std::int64_t ldc, bool accumulate, int rows) {
  const int first = kTiles == 2 ? (rows + 1) / 2 : rows;
  const auto* a = reinterpret_cast<const char*>(packed_a);
  const auto* b = static_cast<const char*>(packed_b);
  const std::int64_t line = ldc * 4;
  float* const second = c + (rows - first) * ldc;  // of an odd number of rows the tiles share one
  use_matrices(first);                             // and zeros in them
  if (accumulate) {
    read_matrix<0>(c, line);
    read_matrix<1>(c + 16, line);
    if constexpr (kTiles == 2) {
      read_matrix<2>(second, line);
      read_matrix<3>(second + 16, line);
    }
  }
  for (std::int64_t unit = 0; unit < units; unit += kUnits, a += rows * 64, b += kUnits * kColumns * 4)
    add_units<kTiles>(a, rows - first, b);
  write_matrix<0>(c, line);
  write_matrix<1>(c + 16, line);
  if constexpr (kTiles == 2) {
    write_matrix<2>(second, line);
    write_matrix<3>(second + 16, line);
  }
  release_matrices();
}

template <int kRows>
void multiply_rows(const float* a, const void* b, std::int64_t units, float* c, std::int64_t ldc, bool accumulate) {
  multiply<(kRows > 16 ? 2 : 1)>(a, b, units, c, ldc, accumulate, kRows);
}

template <int... kRows>
constexpr DenseKernel kernel(std::integer_sequence<int, kRows...>) {
  return {"amx bf16", kMaxDenseRows, kColumns, 2, kUnits, 4, 4, true, {multiply_rows<kRows + 1>...}};
}

}  // namespace

const DenseKernel dense_amx_bf16 = kernel(std::make_integer_sequence<int, kMaxDenseRows>());

}  // namespace billfish::measure
#else
namespace billfish::measure {
const DenseKernel dense_amx_bf16 = {};
}  // namespace billfish::measure
#endif
