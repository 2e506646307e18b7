// SPDX-License-Identifier: Apache-2.0
// A stranger's C++ program: packs random raw codes through billfish.hpp, multiplies, and compares with its own arithmetic.
#include <billfish/billfish.hpp>

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

int main() {
  const std::int64_t m = 3, n = 72, k = 48, group = 16;
  std::mt19937 random(7);
  std::vector<std::uint8_t> codes(k * n), zeros(k / group * n);
  std::vector<float> scales(k / group * n), a(m * k), c(m * n, std::nanf(""));
  for (auto& code : codes) code = static_cast<std::uint8_t>(random() % 16);
  for (auto& zero : zeros) zero = static_cast<std::uint8_t>(random() % 16);
  for (auto& scale : scales) scale = std::ldexp(1.0f, static_cast<int>(random() % 3) - 1);
  for (auto& value : a) value = static_cast<float>(static_cast<int>(random() % 9) - 4);

  try {
    billfish_matrix matrix = BILLFISH_MATRIX_INIT;
    matrix.format = BILLFISH_FORMAT_RAW;
    matrix.type = BILLFISH_U4;
    matrix.n = n;
    matrix.k = k;
    matrix.group = group;
    matrix.codes = codes.data();
    matrix.zeros = zeros.data();
    matrix.scales = scales.data();
    matrix.scale_type = BILLFISH_F32;
    const billfish::Pool pool(2);
    const billfish::PackedWeights weights = billfish::PackedWeights::pack(matrix, pool);
    billfish::gemm<float, float>(weights, m, a, c, pool);
  } catch (const billfish::Error& error) {
    std::fprintf(stderr, "%s: %s\n", billfish_status_name(error.status()), error.what());
    return 1;
  }

  // Small integers and powers of two: exact, whatever the order of the sum.
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (std::int64_t t = 0; t < k; ++t) {
        sum += a[i * k + t] * scales[t / group * n + j] * static_cast<float>(codes[t * n + j] - zeros[t / group * n + j]);
      }
      if (c[i * n + j] != sum) {
        std::fprintf(stderr, "c[%lld][%lld] is %g, not %g\n", static_cast<long long>(i), static_cast<long long>(j), c[i * n + j], sum);
        return 1;
      }
    }
  }
  std::printf("right, with billfish %s\n", billfish_version_string());
  return 0;
}
