// SPDX-License-Identifier: Apache-2.0
// Random packed matrices with their dequantised weights, and calls on poisoned, guarded memory: what every test of this folder, and
// cpu_probe, is made of. Independent of pack/ and reference/: codes are written through the layout maps alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "core/half.hpp"
#include "cpu/cpu.hpp"
#include "cpu/kernels.hpp"
#include "cpu/run.hpp"
#include "gemm/registry.hpp"
#include "layout/marlin_scales.hpp"
#include "layout/marlin_weights.hpp"
#include "layout/marlin_zeros.hpp"

namespace billfish::cpu_tests {

// Cache lines, as any buffer for vector units begins on one; tests that want another place move within it.
template <class T>
struct LineAllocator {
  using value_type = T;
  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(std::size_t count) { return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* memory, std::size_t) { ::operator delete (memory, std::align_val_t{64}); }
  bool operator==(const LineAllocator&) const = default;
};

struct Packed {
  PackedMatrix matrix;
  std::vector<std::uint32_t, LineAllocator<std::uint32_t>> codes;
  std::vector<std::uint32_t> zeros;
  std::vector<float> scales_f32;
  std::vector<std::uint16_t> scales_16;
  std::vector<std::int32_t> perm;
  std::vector<float> bias;
  std::vector<double> weights;  // [k, n], packed row order: float(scale) * (code - zero)

  void point() {
    matrix.codes = codes.data();
    matrix.zeros = zeros.empty() ? nullptr : zeros.data();
    matrix.scales = matrix.scale_type == ElementType::f32 ? static_cast<void*>(scales_f32.data()) : scales_16.data();
    matrix.perm = perm.empty() ? nullptr : perm.data();
    matrix.bias = bias.empty() ? nullptr : bias.data();
  }
};

struct Options {
  WeightType type = WeightType::u4b8;
  std::int64_t n = 64, k = 64, group = -1;
  ElementType scale = ElementType::f16;
  bool act_order = false, bias = false, bias_permuted = false;
  bool exact = false;  // scales are powers of two
};

inline std::uint16_t to_16(float value, ElementType type) { return type == ElementType::bf16 ? f32_to_bf16(value) : f32_to_f16(value); }
inline float rounded_to(float value, ElementType type) {
  if (type == ElementType::f32) return value;
  return type == ElementType::f16 ? f16_to_f32(f32_to_f16(value)) : bf16_to_f32(f32_to_bf16(value));
}

inline Packed make_packed(const Options& o, std::mt19937& random) {
  Packed p;
  PackedMatrix& m = p.matrix;
  m.type = o.type;
  m.scale_type = o.scale;
  m.n = o.n;
  m.k = o.k;
  m.group = resolve_group(o.group, o.k);
  const int bits = bits_of(o.type);
  p.codes.assign(static_cast<std::size_t>(m.packed_code_words()), 0);
  p.zeros.assign(static_cast<std::size_t>(m.packed_zero_words()), 0);
  p.scales_f32.assign(static_cast<std::size_t>(m.packed_scales()), 0.0f);
  for (std::uint32_t& word : p.zeros) word = static_cast<std::uint32_t>(random());
  std::uniform_real_distribution<float> magnitude(0.002f, 0.02f);
  for (std::int64_t group = 0; group < m.groups(); ++group) {
    for (std::int64_t n = 0; n < o.n; ++n) {
      float scale = o.exact ? std::ldexp(1.0f, static_cast<int>(random() % 4) - 3) : magnitude(random);
      if (random() % 4 == 0) scale = -scale;
      p.scales_f32[static_cast<std::size_t>(group * m.padded_n() + layout::marlin_scale(m.per_column(), n))] = rounded_to(scale, o.scale);
    }
  }
  for (const float scale : p.scales_f32) p.scales_16.push_back(o.scale == ElementType::f32 ? std::uint16_t{0} : to_16(scale, o.scale));
  p.weights.assign(static_cast<std::size_t>(o.k * o.n), 0.0);
  for (std::int64_t k = 0; k < m.padded_k(); ++k) {
    for (std::int64_t n = 0; n < m.padded_n(); ++n) {
      const std::int64_t group = std::min(k, o.k - 1) / m.group;
      int zero = implicit_zero(o.type);
      if (has_zeros(o.type)) {
        const layout::Place place = layout::marlin_zero(bits, group, n, m.padded_n());
        zero = static_cast<int>(layout::field_of(p.zeros[static_cast<std::size_t>(place.word)], place.shift, bits));
      }
      const bool padding = k >= o.k || n >= o.n;
      const int code = padding ? zero : static_cast<int>(random() % (1u << bits));
      const layout::Place place = layout::marlin_code(bits, k, n, m.padded_n());
      p.codes[static_cast<std::size_t>(place.word)] |= static_cast<std::uint32_t>(code) << place.shift;
      if (padding) continue;
      const float scale = p.scales_f32[static_cast<std::size_t>(group * m.padded_n() + layout::marlin_scale(m.per_column(), n))];
      p.weights[static_cast<std::size_t>(k * o.n + n)] = static_cast<double>(scale) * (code - zero);
    }
  }
  if (o.act_order) {
    for (std::int64_t k = 0; k < o.k; ++k) p.perm.push_back(static_cast<std::int32_t>(k));
    std::shuffle(p.perm.begin(), p.perm.end(), random);
  }
  if (o.bias) {
    p.bias.resize(static_cast<std::size_t>(m.padded_n()));
    for (float& b : p.bias) b = static_cast<float>(static_cast<int>(random() % 64) - 32) / 8.0f;
    m.bias_type = ElementType::f32;
    m.bias_permuted = o.bias_permuted;
  }
  p.point();
  return p;
}

// A matrix of activations or results of any type with room between rows, and a guard behind.
struct Rows {
  ElementType type = ElementType::f32;
  std::int64_t rows = 0, columns = 0, stride = 0;
  std::vector<unsigned char> bytes;

  static constexpr int kGuard = 256;
  static constexpr unsigned char kPoison = 0xff;  // NaN in every type
  Rows(ElementType t, std::int64_t r, std::int64_t c, std::int64_t gap) : type(t), rows(r), columns(c), stride(c + gap) {
    bytes.assign(static_cast<std::size_t>(rows * stride * bytes_of(type) + 2 * kGuard), kPoison);
  }
  void* data() { return bytes.data() + kGuard; }
  const void* data() const { return bytes.data() + kGuard; }
  float at(std::int64_t row, std::int64_t column) const { return load_element(data(), type, row * stride + column); }
  void set(std::int64_t row, std::int64_t column, float value) { store_element(data(), type, row * stride + column, value); }
  // Everything but the elements themselves is as it was.
  bool guards_hold() const {
    std::vector<unsigned char> copy = bytes;
    for (std::int64_t row = 0; row < rows; ++row) {
      std::memset(copy.data() + kGuard + row * stride * bytes_of(type), kPoison, static_cast<std::size_t>(columns * bytes_of(type)));
    }
    for (const unsigned char byte : copy) {
      if (byte != kPoison) return false;
    }
    return true;
  }
};

inline Rows random_rows(ElementType type, std::int64_t m, std::int64_t k, std::int64_t gap, bool integers, std::mt19937& random) {
  Rows a(type, m, k, gap);
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < k; ++j) a.set(i, j, integers ? static_cast<float>(static_cast<int>(random() % 17) - 8) : normal(random));
  }
  return a;
}

struct Element {
  double y = 0, magnitude = 0;
};
inline Element expected(const Packed& p, const Rows& a, std::int64_t row, std::int64_t n) {
  Element e;
  for (std::int64_t k = 0; k < p.matrix.k; ++k) {
    const double product = static_cast<double>(a.at(row, p.perm.empty() ? k : p.perm[static_cast<std::size_t>(k)])) *
                           p.weights[static_cast<std::size_t>(k * p.matrix.n + n)];
    e.y += product;
    e.magnitude += std::fabs(product);
  }
  if (!p.bias.empty()) {
    const float b = p.bias[static_cast<std::size_t>(p.matrix.bias_permuted ? layout::marlin_column_scale(n) : n)];
    e.y += static_cast<double>(b);
    e.magnitude += std::fabs(static_cast<double>(b));
  }
  return e;
}

inline gemm::Problem problem_of(const Packed& p, std::int64_t m, ElementType a, ElementType c, Precision precision, int threads) {
  gemm::Problem problem;
  problem.m = m;
  problem.n = p.matrix.n;
  problem.k = p.matrix.k;
  problem.group = p.matrix.group;
  problem.weight = p.matrix.type;
  problem.scale = p.matrix.scale_type;
  problem.a = a;
  problem.c = c;
  problem.precision = precision;
  problem.act_order = !p.perm.empty();
  problem.bias = !p.bias.empty();
  problem.threads = threads;
  return problem;
}

// Runs on a poisoned workspace of exactly the size that the plan asks for; the error's text, or empty. `table`: kernels in place of the
// implementation's own.
inline std::string multiply(const gemm::Implementation& implementation, const gemm::DeviceFacts& facts, const Packed& p,
                            const gemm::Problem& problem, const Rows& a, Rows& c, const Parallel& parallel,
                            const cpu::Arithmetic* table = nullptr) {
  const std::string refusal = implementation.why_not(problem, facts);
  if (!refusal.empty()) return refusal;
  const gemm::Plan plan = implementation.plan(problem, facts);
  std::vector<unsigned char> workspace(static_cast<std::size_t>(plan.workspace_bytes) + 64, 0xff);
  gemm::Call call;
  call.weights = &p.matrix;
  call.m = problem.m;
  call.a = a.data();
  call.lda = a.stride;
  call.c = c.data();
  call.ldc = c.stride;
  call.bias = problem.bias;
  call.workspace = workspace.data();
  call.workspace_bytes = plan.workspace_bytes;
  call.parallel = parallel;
  const Status status = table != nullptr ? cpu::multiply(table, plan, problem, call) : implementation.run(plan, problem, call);
  if (!status.ok()) return status.message();
  for (std::size_t i = static_cast<std::size_t>(plan.workspace_bytes); i < workspace.size(); ++i) {
    if (workspace[i] != 0xff) return "wrote behind its workspace";
  }
  return {};
}

}  // namespace billfish::cpu_tests
