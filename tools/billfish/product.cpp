// SPDX-License-Identifier: Apache-2.0
#include "product.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "random.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr int kPoison = 0xff;                      // every byte: NaN in f32, f16 and bf16
constexpr std::int64_t kOracleElements = 1 << 18;  // outputs of one call of the oracle

// 0 where both are the same infinity, or both are NaN.
double error_of(double value, double expected) {
  if (value == expected || (std::isnan(value) && std::isnan(expected))) return 0;
  return std::abs(value - expected);
}

}  // namespace

billfish_gemm_args gemm_arguments(const ProductOptions& options, std::int64_t m, std::int64_t n, std::int64_t k) {
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.m = m;
  args.lda = k;
  args.ldc = n;
  args.a_type = options.a_type;
  args.c_type = options.c_type;
  args.precision = options.precision;
  args.flags = options.bias ? 0 : BILLFISH_GEMM_NO_BIAS;
  args.implementation = options.implementation.empty() ? nullptr : options.implementation.c_str();
  args.parallel = options.parallel;
  return args;
}

Product::Product(const PackedLayer& layer, const ProductOptions& options) : layer_(layer), options_(options) {
  if (options.device.kind != BILLFISH_CPU) on_device_ = std::make_unique<DeviceWeights>(layer, options.device);
}

void Product::run(const void* a, std::int64_t m, void* c) {
  const billfish_weights& weights = on_device_ ? on_device_->weights() : layer_.weights();
  const std::int64_t c_bytes = m * weights.n * bytes_of(options_.c_type);
  const std::int64_t a_bytes = m * weights.k * bytes_of(options_.a_type);
  std::memset(c, kPoison, static_cast<std::size_t>(c_bytes));
  DeviceBuffer device_a(options_.device, a_bytes), device_c(options_.device, c_bytes);
  device_a.upload(a, a_bytes);
  device_c.upload(c, c_bytes);
  billfish_gemm_args args = gemm_arguments(options_, m, weights.n, weights.k);
  args.a = device_a.data();
  args.c = device_c.data();
  std::size_t workspace_bytes = 0;
  check(billfish_gemm_workspace(&weights, &args, &workspace_bytes));
  const DeviceBuffer workspace(options_.device, static_cast<std::int64_t>(workspace_bytes));
  args.workspace = workspace.data();
  args.workspace_bytes = workspace_bytes;
  check(billfish_gemm(&weights, &args, nullptr));
  if (options_.device.kind == BILLFISH_CUDA) check(billfish_tools_cuda_synchronize(options_.device.index));
  device_c.download(c, c_bytes);
}

std::vector<std::byte> random_activations(std::int64_t m, std::int64_t k, billfish_element_type type, std::uint64_t seed) {
  const std::vector<float> values = random_normal(m * k, seed);
  std::vector<std::byte> activations(static_cast<std::size_t>(m * k * bytes_of(type)));
  billfish_tools_from_f32(values.data(), type, activations.data(), m * k);
  return activations;
}

Comparison compare_with_oracle(const PackedLayer& layer, const ProductOptions& options, const void* a, std::int64_t m, const void* c,
                               std::int64_t n0, std::int64_t n1) {
  const billfish_weights& weights = layer.weights();
  billfish_gemm_args args = gemm_arguments(options, m, weights.n, weights.k);
  args.a = a;
  Comparison result;
  double worst_ratio = -1, error_squares = 0, squares = 0;
  const std::int64_t block = std::max<std::int64_t>(64, kOracleElements / std::max<std::int64_t>(1, m));
  for (std::int64_t low = n0; low < n1; low += block) {
    const std::int64_t width = std::min(block, n1 - low);
    std::vector<double> expected(static_cast<std::size_t>(m * width)), certain(expected.size()), bound(expected.size());
    std::vector<float> row(static_cast<std::size_t>(width));
    check(billfish_tools_oracle_bounds(&weights, &args, low, low + width, options.device.kind, expected.data(), certain.data(),
                                       bound.data()));
    for (std::int64_t i = 0; i < m; ++i) {
      const auto* first = static_cast<const std::byte*>(c) + (i * weights.n + low) * bytes_of(options.c_type);
      billfish_tools_to_f32(first, options.c_type, row.data(), width);
      for (std::int64_t j = 0; j < width; ++j) {
        const double y = expected[i * width + j], limit = bound[i * width + j], value = row[j];
        // Beyond the output type's range infinity of y's sign is right, and the bound says so: there is no error to speak of.
        const bool overflows = std::isinf(value) && std::isinf(limit) && std::isfinite(y) && std::signbit(value) == std::signbit(y);
        const double error = overflows ? 0 : error_of(value, y);
        const double ratio = error == 0 ? 0 : error / limit;  // not a number, where value or bound is none: never passes
        if (std::isfinite(y) && !overflows) {
          squares += y * y;
          error_squares += error * error;
        }
        if (std::isfinite(value)) result.largest = std::max(result.largest, std::abs(value));
        result.passed = result.passed && ratio <= 1;
        if (!(ratio <= worst_ratio) && !std::isnan(worst_ratio)) {  // a NaN is worse than any number, and stays
          worst_ratio = ratio;
          result.row = i;
          result.column = low + j;
          result.value = value;
          result.expected = y;
          result.error = error;
          result.bound = limit;
          result.certain_bound = certain[i * width + j];
        }
      }
    }
  }
  result.relative_error = error_squares == 0 ? 0 : std::sqrt(error_squares / squares);
  return result;
}

}  // namespace billfish::cli
