// SPDX-License-Identifier: Apache-2.0
// Random layers as each format stores them, made field by field from plain codes, with the quirks that real files have.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/half.hpp"
#include "formats/files.hpp"

namespace billfish::test {

struct Plain {
  std::int64_t n = 0, k = 0, group = 0;  // group resolved
  int bits = 4;
  std::vector<int> codes;             // [k][n]
  std::vector<int> zeros;             // [groups][n]
  std::vector<std::uint16_t> scales;  // [groups][n]
  std::vector<std::int32_t> g_idx;    // [k]
  std::int64_t groups() const { return (k + group - 1) / group; }
};

struct PlainOptions {
  int bits = 4;
  bool symmetric = true, act_order = false, bf16 = false;
  int lowest_zero = 0;
};

inline Plain random_plain(std::int64_t k, std::int64_t n, std::int64_t group, const PlainOptions& options, unsigned seed) {
  std::mt19937 random(seed);
  Plain out;
  out.n = n;
  out.k = k;
  out.group = group <= 0 || group > k ? k : group;
  out.bits = options.bits;
  const int most = (1 << options.bits) - 1;
  for (std::int64_t i = 0; i < k * n; ++i) out.codes.push_back(static_cast<int>(random() % static_cast<unsigned>(most + 1)));
  for (std::int64_t i = 0; i < out.groups() * n; ++i) {
    const int zero = options.lowest_zero + static_cast<int>(random() % static_cast<unsigned>(most + 1 - options.lowest_zero));
    out.zeros.push_back(options.symmetric ? (most + 1) / 2 : zero);
    const float scale = (0.001f + 0.02f * static_cast<float>(random() % 1000) / 1000.0f) * (random() % 7 == 0 ? -1.0f : 1.0f);
    out.scales.push_back(options.bf16 ? f32_to_bf16(scale) : f32_to_f16(scale));
  }
  for (std::int64_t i = 0; i < k; ++i) out.g_idx.push_back(static_cast<std::int32_t>(i / out.group));
  if (options.act_order) std::shuffle(out.g_idx.begin(), out.g_idx.end(), random);
  return out;
}

inline std::int64_t up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// fields(i): the i-th field's value; `words` words of 32 / bits fields each.
template <class Field>
std::vector<std::uint32_t> pack_fields(std::int64_t words, int bits, Field field) {
  std::vector<std::uint32_t> out(static_cast<std::size_t>(words));
  for (std::int64_t w = 0; w < words; ++w) {
    for (int j = 0; j < 32 / bits; ++j) out[static_cast<std::size_t>(w)] |= static_cast<std::uint32_t>(field(w, j)) << (j * bits);
  }
  return out;
}

inline std::vector<TestTensor> gptq_tensors(const Plain& p, const std::string& name, bool v1, bool g_idx,
                                            const std::string& scale_dtype = "F16") {
  const std::int64_t pf = 32 / p.bits, rows = up(p.k, pf), zero_words = up(p.n, pf);
  const auto codes = pack_fields(rows * p.n, p.bits, [&](std::int64_t w, int j) {
    const std::int64_t k = w / p.n * pf + j, n = w % p.n;
    return k < p.k ? p.codes[static_cast<std::size_t>(k * p.n + n)] : 0;
  });
  auto zeros = pack_fields(p.groups() * zero_words, p.bits, [&](std::int64_t w, int j) {
    const std::int64_t g = w / zero_words, n = w % zero_words * pf + j;
    return n < p.n ? p.zeros[static_cast<std::size_t>(g * p.n + n)] : 0;
  });
  // As the writers do it: the constant leaves the whole word, so a zero point of 0 borrows from its neighbour.
  for (std::uint32_t& word : zeros) word -= v1 ? (p.bits == 4 ? 0x11111111u : 0x01010101u) : 0u;
  std::vector<TestTensor> out = {tensor(name + ".qweight", "I32", {rows, p.n}, codes),
                                 tensor(name + ".qzeros", "I32", {p.groups(), zero_words}, zeros),
                                 tensor(name + ".scales", scale_dtype, {p.groups(), p.n}, p.scales)};
  if (g_idx) out.push_back(tensor(name + ".g_idx", "I32", {p.k}, p.g_idx));
  return out;
}

inline std::vector<TestTensor> awq_tensors(const Plain& p, const std::string& name) {
  constexpr int kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  const std::int64_t words = p.n / 8;
  const auto pack = [&](const std::vector<int>& values, std::int64_t rows) {
    return pack_fields(rows * words, 4, [&](std::int64_t w, int j) {
      return values[static_cast<std::size_t>(w / words * p.n + w % words * 8 + kOrder[j])];
    });
  };
  return {tensor(name + ".qweight", "I32", {p.k, words}, pack(p.codes, p.k)),
          tensor(name + ".qzeros", "I32", {p.groups(), words}, pack(p.zeros, p.groups())),
          tensor(name + ".scales", "F16", {p.groups(), p.n}, p.scales)};
}

inline std::vector<TestTensor> compressed_tensors(const Plain& p, const std::string& name, bool symmetric, bool g_idx,
                                                  const std::string& scale_dtype = "BF16") {
  const std::int64_t pf = 32 / p.bits, columns = up(p.k, pf), zero_rows = up(p.n, pf), groups = p.groups();
  const auto codes = pack_fields(p.n * columns, p.bits, [&](std::int64_t w, int j) {
    const std::int64_t n = w / columns, k = w % columns * pf + j;
    return k < p.k ? p.codes[static_cast<std::size_t>(k * p.n + n)] : 0;
  });
  std::vector<std::uint16_t> scales(p.scales.size());
  for (std::int64_t n = 0; n < p.n; ++n) {
    for (std::int64_t g = 0; g < groups; ++g)
      scales[static_cast<std::size_t>(n * groups + g)] = p.scales[static_cast<std::size_t>(g * p.n + n)];
  }
  std::vector<TestTensor> out = {tensor<std::int64_t>(name + ".weight_shape", "I64", {2}, {p.n, p.k}),
                                 tensor(name + ".weight_packed", "I32", {p.n, columns}, codes),
                                 tensor(name + ".weight_scale", scale_dtype, {p.n, groups}, scales)};
  if (!symmetric) {
    const auto zeros = pack_fields(zero_rows * groups, p.bits, [&](std::int64_t w, int j) {
      const std::int64_t g = w % groups, n = w / groups * pf + j;
      return n < p.n ? p.zeros[static_cast<std::size_t>(g * p.n + n)] : 0;
    });
    out.push_back(tensor(name + ".weight_zero_point", "I32", {zero_rows, groups}, zeros));
  }
  if (g_idx) out.push_back(tensor(name + ".weight_g_idx", "I32", {p.k}, p.g_idx));
  return out;
}

inline void append(std::vector<TestTensor>& to, std::vector<TestTensor> more) {
  for (TestTensor& t : more) to.push_back(std::move(t));
}

inline TestTensor random_f16(const std::string& name, std::vector<std::int64_t> shape, unsigned seed, const std::string& dtype = "F16") {
  std::mt19937 random(seed);
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  std::vector<std::uint16_t> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(static_cast<std::uint16_t>(random() % 0x7000));
  return tensor(name, dtype, std::move(shape), values);
}

}  // namespace billfish::test
