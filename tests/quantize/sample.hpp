// SPDX-License-Identifier: Apache-2.0
// Matrices to quantise, and the memory that results go to: guarded on both sides and poisoned, so that a byte too many or too few shows.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "core/half.hpp"
#include "core/integers.hpp"
#include "quantize/quantize.hpp"

namespace billfish::quantize::test {

inline std::vector<float> normal(std::int64_t count, float deviation, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> draw(0.0f, deviation);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = draw(generator);
  return values;
}

// Second moments of a process in which neighbours are alike: rho^|i - j|.
inline std::vector<float> autoregressive(std::int64_t k, double rho) {
  std::vector<float> h(static_cast<std::size_t>(k * k));
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < k; ++j) {
      h[static_cast<std::size_t>(i * k + j)] = static_cast<float>(std::pow(rho, static_cast<double>(std::abs(i - j))));
    }
  }
  return h;
}

// Tokens whose inputs differ in size by up to some ten times and depend on each other.
inline std::vector<float> correlated_samples(std::int64_t tokens, std::int64_t k, std::uint64_t seed) {
  constexpr std::int64_t kCauses = 7;
  const std::vector<float> noise = normal(tokens * k, 1.0f, seed), causes = normal(tokens * kCauses, 1.0f, seed + 1);
  const std::vector<float> mix = normal(kCauses * k, 0.7f, seed + 2), sizes = normal(k, 0.7f, seed + 3);
  std::vector<float> x(noise);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < k; ++i) {
      float& value = x[static_cast<std::size_t>(t * k + i)];
      for (std::int64_t c = 0; c < kCauses; ++c) {
        value += causes[static_cast<std::size_t>(t * kCauses + c)] * mix[static_cast<std::size_t>(c * k + i)];
      }
      value *= std::exp(sizes[static_cast<std::size_t>(i)]);
    }
  }
  return x;
}

template <class T>
class Guarded {
 public:
  explicit Guarded(std::int64_t count) : count_(static_cast<std::size_t>(count)), memory_(count_ * sizeof(T) + 2 * kGuard, kPoison) {}
  T* get() { return reinterpret_cast<T*>(memory_.data() + kGuard); }
  T operator[](std::int64_t i) const {
    T value;
    std::memcpy(&value, memory_.data() + kGuard + static_cast<std::size_t>(i) * sizeof(T), sizeof value);
    return value;
  }
  bool guards_intact() const {
    for (std::size_t i = 0; i < kGuard; ++i) {
      if (memory_[i] != kPoison || memory_[memory_.size() - 1 - i] != kPoison) return false;
    }
    return true;
  }
  bool operator==(const Guarded& other) const { return memory_ == other.memory_; }

 private:
  static constexpr std::size_t kGuard = 64;
  static constexpr unsigned char kPoison = 0xa5;
  std::size_t count_;
  std::vector<unsigned char> memory_;
};

struct Result {
  Guarded<std::uint8_t> codes, zeros, scales;
  Quantized parts;
  Status status;
  Options options;
  std::int64_t n, k;

  Result(const Options& chosen, std::int64_t rows, std::int64_t columns)
      : codes(rows * columns),
        zeros(has_zeros(chosen.type) ? ceil_div(columns, chosen.group) * rows : 0),
        scales(ceil_div(columns, chosen.group) * rows * bytes_of(chosen.scale_type)),
        options(chosen),
        n(rows),
        k(columns) {
    parts.codes = codes.get();
    parts.zeros = has_zeros(chosen.type) ? zeros.get() : nullptr;
    parts.scales = scales.get();
  }

  float scale(std::int64_t row, std::int64_t column) {
    return load_element(scales.get(), options.scale_type, column / options.group * n + row);
  }
  float zero(std::int64_t row, std::int64_t column) {
    return has_zeros(options.type) ? static_cast<float>(zeros[column / options.group * n + row])
                                   : static_cast<float>(implicit_zero(options.type));
  }
  int code(std::int64_t row, std::int64_t column) const { return codes[column * n + row]; }
  double value(std::int64_t row, std::int64_t column) {
    return (static_cast<double>(code(row, column)) - zero(row, column)) * scale(row, column);
  }
  bool same_bytes(const Result& other) const { return codes == other.codes && zeros == other.zeros && scales == other.scales; }
  bool intact() const { return codes.guards_intact() && zeros.guards_intact() && scales.guards_intact(); }
};

inline Weights view(const std::vector<float>& weights, std::int64_t n, std::int64_t k) { return {weights.data(), n, k, k}; }
inline Samples moments(const std::vector<float>& h) { return {nullptr, ElementType::f32, 0, 0, h.data(), 1}; }
inline Samples tokens(const std::vector<float>& x, std::int64_t k) {
  return {x.data(), ElementType::f32, static_cast<std::int64_t>(x.size()) / k, k, nullptr, 0};
}

inline Result quantized(const Options& options, const std::vector<float>& weights, std::int64_t n, std::int64_t k,
                        const Samples& samples = {}) {
  Result result(options, n, k);
  result.status = quantize_matrix(options, view(weights, n, k), samples, result.parts);
  EXPECT_TRUE(result.intact());
  return result;
}

inline Options options_of(Method method, WeightType type, std::int64_t group, bool clip = false) {
  Options options;
  options.method = method;
  options.type = type;
  options.group = group;
  options.clip = clip;
  return options;
}

}  // namespace billfish::quantize::test
