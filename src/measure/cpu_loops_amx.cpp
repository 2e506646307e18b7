// SPDX-License-Identifier: Apache-2.0
// Ceiling loops for AMX, bf16 and int8: four products for four registers that are read, as any real product must, and of values that
// vary: with constant ones the units run a quarter faster than they ever do at work (Xeon, 3.8 against 3.0 TFLOP/s a core).
#include "measure/cpu_loops.hpp"

#if defined(__x86_64__)
#include "measure/amx_loops.hpp"

namespace billfish::measure {
namespace {

constexpr double kProducts = 4;

template <bool kBf16>
void multiply(std::int64_t iterations, float* sink) {
  alignas(64) std::uint32_t data[4][kMatrixBytes / 4];
  std::uint32_t seed = 1;
  for (auto& matrix : data) {
    for (std::uint32_t& word : matrix) word = (seed = seed * 1664525u + 1013904223u) & 0xbfffbfffu;  // bf16 below 2
  }
  use_matrices(16);
  for (std::int64_t i = 0; i < iterations; ++i) {
    read_matrix<4>(data[0]);
    read_matrix<6>(data[1]);
    kBf16 ? add_bf16_product<0, 4, 6>() : add_s8_product<0, 4, 6>();
    read_matrix<7>(data[2]);
    kBf16 ? add_bf16_product<1, 4, 7>() : add_s8_product<1, 4, 7>();
    read_matrix<5>(data[3]);
    kBf16 ? add_bf16_product<2, 5, 6>() : add_s8_product<2, 5, 6>();
    kBf16 ? add_bf16_product<3, 5, 7>() : add_s8_product<3, 5, 7>();
  }
  write_matrix<0>(data[0]);
  release_matrices();
  sink[0] = static_cast<float>(data[0][0]);
}

}  // namespace

const AmxLoops amx_loops = {{multiply<true>, kProducts * 2 * 16 * 16 * 32}, {multiply<false>, kProducts * 2 * 16 * 16 * 64}};

}  // namespace billfish::measure
#else
namespace billfish::measure {
const AmxLoops amx_loops = {};
}  // namespace billfish::measure
#endif
