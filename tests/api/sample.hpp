// SPDX-License-Identifier: Apache-2.0
// Random quantised matrices for the tests of the ABI, through the ABI alone: never zero, never padded, in memory with guards around it.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "billfish/billfish.h"
#include "billfish/billfish_tools.h"

namespace billfish::api_test {

// Bytes between guards that notice writes outside; filled with a pattern that no product yields.
class Guarded {
 public:
  explicit Guarded(std::size_t bytes = 0, std::size_t alignment = 64) { reset(bytes, alignment); }
  void reset(std::size_t bytes, std::size_t alignment = 64) {
    bytes_ = bytes;
    memory_.assign(bytes + 2 * kGuard + alignment, kPoison);
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data()) + kGuard;
    data_ = memory_.data() + kGuard + (alignment - address % alignment) % alignment;
  }
  void* data() { return data_; }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }
  bool guards_intact() const {
    for (const std::uint8_t* p = memory_.data(); p != data_; ++p) {
      if (*p != kPoison) return false;
    }
    for (const std::uint8_t* p = data_ + bytes_; p != memory_.data() + memory_.size(); ++p) {
      if (*p != kPoison) return false;
    }
    return true;
  }
  bool untouched() const {
    for (std::size_t i = 0; i < bytes_; ++i) {
      if (data_[i] != kPoison) return false;
    }
    return guards_intact();
  }

 private:
  static constexpr std::size_t kGuard = 128;
  static constexpr std::uint8_t kPoison = 0xff;  // NaN in every element type
  std::vector<std::uint8_t> memory_;
  std::uint8_t* data_ = nullptr;
  std::size_t bytes_ = 0;
};

struct SampleOptions {
  billfish_weight_type type = BILLFISH_U4B8;
  std::int64_t n = 80, k = 176, group = 32;
  billfish_element_type scale_type = BILLFISH_F16;
  bool bias = false, act_order = false;
  std::uint64_t seed = 1;
};

inline std::size_t element_bytes(billfish_element_type type) { return type == BILLFISH_F32 ? 4 : 2; }

inline std::vector<float> random_floats(std::size_t count, float low, float high, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> values(low, high);
  std::vector<float> out(count);
  for (float& value : out) value = values(random);
  return out;
}

inline std::vector<std::uint8_t> as_type(const std::vector<float>& values, billfish_element_type type) {
  std::vector<std::uint8_t> out(values.size() * element_bytes(type));
  billfish_tools_from_f32(values.data(), type, out.data(), static_cast<std::int64_t>(values.size()));
  return out;
}

// A raw matrix and everything it points to.
struct Sample {
  explicit Sample(const SampleOptions& options) {
    std::mt19937_64 random(options.seed);
    const bool wide = options.type == BILLFISH_U8B128 || options.type == BILLFISH_U8;
    const bool zeros_stored = options.type == BILLFISH_U4 || options.type == BILLFISH_U8;
    const std::int64_t group = options.group <= 0 || options.group > options.k ? options.k : options.group;
    const std::int64_t groups = (options.k + group - 1) / group;
    const auto code = [&] { return static_cast<std::uint8_t>(random() % (wide ? 256 : 16)); };
    codes.resize(static_cast<std::size_t>(options.k * options.n));
    for (std::uint8_t& c : codes) c = code();
    if (zeros_stored) {
      zeros.resize(static_cast<std::size_t>(groups * options.n));
      for (std::uint8_t& z : zeros) z = code();
    }
    scales = as_type(random_floats(static_cast<std::size_t>(groups * options.n), 0.002f, 0.02f, random()), options.scale_type);
    if (options.bias) bias = as_type(random_floats(static_cast<std::size_t>(options.n), -1.0f, 1.0f, random()), options.scale_type);
    if (options.act_order) {
      for (std::int64_t i = 0; i < options.k; ++i) g_idx.push_back(static_cast<std::int32_t>(i / group));
      for (std::size_t i = g_idx.size(); i > 1; --i) std::swap(g_idx[i - 1], g_idx[random() % i]);
    }
    matrix.format = BILLFISH_FORMAT_RAW;
    matrix.type = options.type;
    matrix.n = options.n;
    matrix.k = options.k;
    matrix.group = options.group;
    matrix.codes = codes.data();
    matrix.zeros = zeros.empty() ? nullptr : zeros.data();
    matrix.scales = scales.data();
    matrix.g_idx = g_idx.empty() ? nullptr : g_idx.data();
    matrix.bias = bias.empty() ? nullptr : bias.data();
    matrix.scale_type = matrix.bias_type = options.scale_type;
  }
  Sample(const Sample&) = delete;
  std::vector<std::uint8_t> codes, zeros, scales, bias;
  std::vector<std::int32_t> g_idx;
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
};

// The same matrix packed, in guarded memory.
struct PackedSample {
  explicit PackedSample(const billfish_matrix& matrix, const billfish_parallel* parallel = nullptr) {
    billfish_packed_sizes sizes = BILLFISH_PACKED_SIZES_INIT;
    EXPECT_EQ(billfish_packed_sizes_of(&matrix, &sizes), BILLFISH_OK) << billfish_last_error();
    const std::int64_t bytes[] = {sizes.codes, sizes.scales, sizes.zeros, sizes.perm, sizes.g_idx, sizes.bias};
    for (int i = 0; i < 6; ++i) parts[i].reset(static_cast<std::size_t>(bytes[i]));
    weights.codes = parts[0].data();
    weights.scales = parts[1].data();
    weights.zeros = sizes.zeros > 0 ? parts[2].data() : nullptr;
    weights.perm = sizes.perm > 0 ? parts[3].as<std::int32_t>() : nullptr;
    weights.g_idx = sizes.g_idx > 0 ? parts[4].as<std::int32_t>() : nullptr;
    weights.bias = sizes.bias > 0 ? parts[5].data() : nullptr;
    EXPECT_EQ(billfish_pack(&matrix, &weights, parallel, nullptr), BILLFISH_OK) << billfish_last_error();
    for (const Guarded& part : parts) EXPECT_TRUE(part.guards_intact()) << "packing wrote outside a buffer";
  }
  explicit PackedSample(const Sample& sample) : PackedSample(sample.matrix) {}
  PackedSample(const PackedSample&) = delete;
  Guarded parts[6];
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
};

// A product with its own inputs, output and workspace.
struct Product {
  Product(const billfish_weights& w, std::int64_t m, billfish_element_type a_type, billfish_element_type c_type, std::uint64_t seed = 5)
      : weights(w) {
    a = as_type(random_floats(static_cast<std::size_t>(m * w.k), -2.0f, 2.0f, seed), a_type);
    c.reset(static_cast<std::size_t>(m * w.n) * element_bytes(c_type));
    args.m = m;
    args.a = a.data();
    args.lda = w.k;
    args.c = c.data();
    args.ldc = w.n;
    args.a_type = a_type;
    args.c_type = c_type;
  }
  billfish_status bring_workspace() {
    std::size_t bytes = 0;
    const billfish_status status = billfish_gemm_workspace(&weights, &args, &bytes);
    if (status != BILLFISH_OK) return status;
    workspace.reset(bytes);
    args.workspace = bytes > 0 ? workspace.data() : nullptr;
    args.workspace_bytes = bytes;
    return BILLFISH_OK;
  }
  billfish_status run() {
    const billfish_status status = bring_workspace();
    return status != BILLFISH_OK ? status : billfish_gemm(&weights, &args, nullptr);
  }
  std::vector<float> result() {
    std::vector<float> out(static_cast<std::size_t>(args.m * weights.n));
    for (std::int64_t row = 0; row < args.m; ++row) {
      billfish_tools_to_f32(c.as<std::uint8_t>() + static_cast<std::size_t>(row * args.ldc) * element_bytes(args.c_type), args.c_type,
                            out.data() + row * weights.n, weights.n);
    }
    return out;
  }
  // "" if every element is within the bound of the oracle.
  std::string compare_with_oracle() {
    const std::size_t count = static_cast<std::size_t>(args.m * weights.n);
    std::vector<double> y(count), bound(count);
    if (billfish_tools_oracle(&weights, &args, 0, weights.n, BILLFISH_CPU, y.data(), bound.data()) != BILLFISH_OK) {
      return billfish_last_error();
    }
    const std::vector<float> got = result();
    for (std::size_t i = 0; i < count; ++i) {
      if (!(std::abs(static_cast<double>(got[i]) - y[i]) <= bound[i])) {
        return "element " + std::to_string(i) + " is " + std::to_string(got[i]) + ", the oracle says " + std::to_string(y[i]) + " within " +
               std::to_string(bound[i]);
      }
    }
    return c.guards_intact() && (args.workspace_bytes == 0 || workspace.guards_intact()) ? "" : "memory outside a buffer was written";
  }
  const billfish_weights& weights;
  std::vector<std::uint8_t> a;
  Guarded c, workspace;
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
};

}  // namespace billfish::api_test
