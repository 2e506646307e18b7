// SPDX-License-Identifier: Apache-2.0
#include "bench_data.hpp"

#include <cstring>
#include <utility>

#include "billfish/billfish_tools.h"
#include "random.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

void fill_bits(Buffer& buffer, std::uint64_t seed) {
  Random random(seed);
  auto* bytes = buffer.as<unsigned char>();
  std::int64_t i = 0;
  for (; i + 8 <= buffer.bytes(); i += 8) {
    const std::uint64_t word = random.bits();
    std::memcpy(bytes + i, &word, 8);
  }
  for (; i < buffer.bytes(); ++i) bytes[i] = static_cast<unsigned char>(random.bits());
}

}  // namespace

RandomMatrix::RandomMatrix(std::int64_t k, std::int64_t n, std::int64_t group, billfish_weight_type type, billfish_element_type scale_type,
                           std::uint64_t seed, bool act_order) {
  const int bits = bits_of(type), fields = 32 / bits;
  const std::int64_t groups = groups_of(k, group);
  const bool gptq = k % fields == 0 && n % fields == 0;
  matrix_.format = gptq ? BILLFISH_FORMAT_GPTQ : BILLFISH_FORMAT_RAW;
  matrix_.type = type;
  matrix_.n = n;
  matrix_.k = k;
  matrix_.group = group;
  matrix_.scale_type = scale_type;
  codes_ = Buffer(gptq ? k / fields * n * 4 : k * n);
  scales_ = Buffer(groups * n * bytes_of(scale_type));
  std::vector<float> scales(static_cast<std::size_t>(groups * n));
  Random random(seed ^ 0x5ca1e5u);
  for (float& scale : scales) scale = random.uniform(0.005f, 0.02f);
  billfish_tools_from_f32(scales.data(), scale_type, scales_.data(), groups * n);
  if (gptq || has_zeros(type)) zeros_ = Buffer(gptq ? groups * n / fields * 4 : groups * n);
  if (has_zeros(type)) {
    fill_bits(zeros_, seed ^ 0x2e50u);
    // Raw zeros are one code a byte: stay within the type.
    for (std::int64_t i = 0; !gptq && bits == 4 && i < zeros_.bytes(); ++i) zeros_.as<unsigned char>()[i] &= 15;
  } else if (gptq) {
    std::memset(zeros_.data(), bits == 4 ? 0x77 : 0x7f, static_cast<std::size_t>(zeros_.bytes()));  // the implicit zero, less one
  }
  matrix_.codes = codes_.data();
  matrix_.zeros = zeros_.data();
  matrix_.scales = scales_.data();
  if (act_order) {  // as many rows of every group as without, in a random order
    g_idx_ = Buffer(k * 4);
    auto* groups_of_rows = g_idx_.as<std::int32_t>();
    for (std::int64_t row = 0; row < k; ++row) groups_of_rows[row] = static_cast<std::int32_t>(row / group);
    Random order(seed ^ 0x0acdu);
    for (std::int64_t row = k - 1; row > 0; --row) {
      std::swap(groups_of_rows[row], groups_of_rows[order.bits() % static_cast<std::uint64_t>(row + 1)]);
    }
    matrix_.g_idx = groups_of_rows;
  }
  draw_again(seed);
}

void RandomMatrix::draw_again(std::uint64_t seed) {
  fill_bits(codes_, seed);
  if (matrix_.format == BILLFISH_FORMAT_RAW && bits_of(matrix_.type) == 4) {
    for (std::int64_t i = 0; i < codes_.bytes(); ++i) codes_.as<unsigned char>()[i] &= 15;
  }
}

}  // namespace billfish::cli
