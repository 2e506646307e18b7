// SPDX-License-Identifier: Apache-2.0
#include "bench_cuda_layer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "bench_data.hpp"
#include "billfish/billfish_tools.h"
#include "errors.hpp"
#include "random.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr double kTouchBytes = 320e6;     // of weights a graph goes through: more than five times an H200's L2
constexpr std::int64_t kMostCopies = 64;  // tiny layers: more copies would only make a longer graph
constexpr std::int64_t kSamples = 4096;
constexpr std::int64_t kAlignment = 256;

std::int64_t round_up(std::int64_t value, std::int64_t to) { return (value + to - 1) / to * to; }

std::int64_t copies_for(std::int64_t bytes, bool hot) {
  if (hot) return 1;
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(kTouchBytes / static_cast<double>(bytes))), 2, kMostCopies);
}

}  // namespace

CudaLayer::CudaLayer(const BenchOptions& options, const BenchShape& shape, std::int64_t most_m, bool with_dense)
    : options_(options), shape_(shape), most_m_(most_m) {
  make_weights(shape.n % 64 != 0 || shape.k % 16 != 0 || options.act_order);
  const int device = options.device.index;
  const std::int64_t size = bytes_of(options.act), n = shape.n, k = shape.k;
  if (with_dense) {
    const std::int64_t bytes = round_up(n * k * size, kAlignment);
    const std::int64_t count = std::min(copies_for(bytes, options.hot), copies());
    dense_memory_ = DeviceBuffer(options.device, bytes * count);
    for (std::int64_t i = 0; i < count; ++i) {
      dense_.push_back(static_cast<char*>(dense_memory_.data()) + i * bytes);
      check(billfish_tools_cuda_dequantize(&weights(i), options.act, dense_.back(), nullptr), shape.label);
    }
  }
  a_ = DeviceBuffer(options.device, std::max<std::int64_t>(1, most_m * k) * size);
  c_ = DeviceBuffer(options.device, std::max<std::int64_t>(1, most_m * n) * size);
  check(billfish_tools_cuda_fill_uniform(device, a_.data(), options.act, most_m * k, -1.0f, 1.0f, options.seed + 77, nullptr), shape.label);
  check(billfish_tools_cuda_synchronize(device), shape.label);
}

void CudaLayer::make_weights(bool on_host) {
  const std::int64_t n = shape_.n, k = shape_.k, groups = groups_of(k, options_.group);
  const std::int64_t padded_n = round_up(n, 64), padded_k = round_up(k, 16);
  const int bits = bits_of(options_.type), device = options_.device.index;
  const billfish_element_type scale_type = options_.act == BILLFISH_BF16 ? BILLFISH_BF16 : BILLFISH_F16;
  const std::int64_t code_bytes = padded_k * padded_n * bits / 8, code_stride = round_up(code_bytes, kAlignment);
  const std::int64_t scale_stride = round_up(groups * padded_n * 2, kAlignment);
  const std::int64_t zero_stride = has_zeros(options_.type) ? round_up(groups * padded_n * bits / 8, kAlignment) : 0;
  const std::int64_t count = copies_for(code_bytes, options_.hot);
  codes_ = DeviceBuffer(options_.device, code_stride * count);
  scales_ = DeviceBuffer(options_.device, scale_stride * count);
  zeros_ = DeviceBuffer(options_.device, zero_stride * count);
  billfish_weights one = BILLFISH_WEIGHTS_INIT;
  one.type = options_.type;
  one.scale_type = scale_type;
  one.n = n;
  one.k = k;
  one.group = options_.group;
  one.device_kind = BILLFISH_CUDA;
  one.device_index = device;
  for (std::int64_t i = 0; i < count; ++i) {
    one.codes = static_cast<char*>(codes_.data()) + i * code_stride;
    one.scales = static_cast<char*>(scales_.data()) + i * scale_stride;
    one.zeros = zero_stride > 0 ? static_cast<char*>(zeros_.data()) + i * zero_stride : nullptr;
    weights_.push_back(one);
  }
  if (!on_host) {  // any bits are codes and zeros
    check(billfish_tools_cuda_fill_bits(device, codes_.data(), codes_.bytes(), options_.seed, nullptr), shape_.label);
    if (zero_stride > 0)
      check(billfish_tools_cuda_fill_bits(device, zeros_.data(), zeros_.bytes(), options_.seed + 1, nullptr), shape_.label);
    check(billfish_tools_cuda_fill_uniform(device, scales_.data(), scale_type, scales_.bytes() / 2, 0.005f, 0.02f, options_.seed + 2,
                                           nullptr),
          shape_.label);
    return;
  }
  // Padding has fixed contents and an activation order a sorted one, which the packer knows: one packed layer, copied to every place.
  const Pool pool(0);
  const RandomMatrix matrix(k, n, options_.group, options_.type, scale_type, options_.seed, options_.act_order);
  const PackedLayer packed(matrix.matrix(), pool.parallel(), shape_.label);
  const auto upload = [&](void* target, const void* source, std::int64_t bytes) {
    if (bytes > 0) check(billfish_tools_cuda_copy(device, target, source, static_cast<std::size_t>(bytes), 0), shape_.label);
  };
  if (packed.sizes().perm > 0) {
    perm_ = DeviceBuffer(options_.device, packed.sizes().perm);
    perm_.upload(packed.weights().perm, packed.sizes().perm);
  }
  for (billfish_weights& copy : weights_) {
    copy.perm = static_cast<std::int32_t*>(perm_.data());
    upload(copy.codes, packed.weights().codes, packed.sizes().codes);
    upload(copy.scales, packed.weights().scales, packed.sizes().scales);
    upload(copy.zeros, packed.weights().zeros, packed.sizes().zeros);
  }
}

std::int64_t CudaLayer::weight_bytes() const { return bytes_read(weights_[0]); }

billfish_gemm_args CudaLayer::args(std::int64_t m, bool dependent, const std::string& implementation) {
  implementation_ = implementation;
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  args.m = m;
  args.a = a_.data();
  args.lda = shape_.k;
  args.c = c_.data();
  args.ldc = shape_.n;
  args.a_type = args.c_type = options_.act;
  const bool zeroed = !options_.plain_workspace && implementation_ != "sm80";  // sm80 has no use for zeros
  args.flags = (dependent ? std::uint32_t{BILLFISH_GEMM_DEPENDENT_LAUNCH} : 0u) |
               (options_.batch_invariant ? std::uint32_t{BILLFISH_GEMM_BATCH_INVARIANT} : 0u) |
               (zeroed ? std::uint32_t{BILLFISH_GEMM_ZEROED_WORKSPACE} : 0u);
  args.implementation = implementation_.empty() ? nullptr : implementation_.c_str();
  if (options_.no_workspace) return args;
  std::size_t bytes = 0;
  check(billfish_gemm_workspace(&weights_[0], &args, &bytes), shape_.label);
  DeviceBuffer& workspace = zeroed ? zeroed_workspace_ : workspace_;
  if (static_cast<std::int64_t>(bytes) > workspace.bytes()) {
    workspace = DeviceBuffer(options_.device, static_cast<std::int64_t>(bytes));
    const std::vector<char> zeros(bytes);
    workspace.upload(zeros.data(), workspace.bytes());
  }
  args.workspace = workspace.data();
  args.workspace_bytes = static_cast<std::size_t>(workspace.bytes());
  return args;
}

// The first `rows` rows of the product in double: a smaller m is a part of a larger one, so one reference serves them all.
void CudaLayer::prepare_reference(std::int64_t rows) {
  const int device = options_.device.index;
  const std::int64_t n = shape_.n, k = shape_.k;
  if (exact_.data() == nullptr) {
    exact_ = DeviceBuffer(options_.device, n * k * 4);
    check(billfish_tools_cuda_dequantize(&weights_[0], BILLFISH_F32, exact_.data(), nullptr), shape_.label);
  }
  if (rows <= reference_rows_) return;
  const std::int64_t elements = rows * n;
  const DeviceBuffer y(options_.device, elements * 8), magnitude(options_.device, elements * 8);
  check(billfish_tools_cuda_product(device, a_.data(), options_.act, rows, k, static_cast<const float*>(exact_.data()), n, k, nullptr,
                                    nullptr, 0, static_cast<double*>(y.data()), static_cast<double*>(magnitude.data()), nullptr),
        shape_.label);
  y_.resize(static_cast<std::size_t>(elements));
  magnitude_.resize(y_.size());
  y.download(y_.data(), elements * 8);
  magnitude.download(magnitude_.data(), elements * 8);
  reference_rows_ = rows;
}

void CudaLayer::compare(const std::vector<float>& c, const std::vector<double>& y, const std::vector<double>& bound, BenchRow& row) {
  double worst = -1;
  row.checked = true;
  for (std::size_t i = 0; i < c.size(); ++i) {
    const double error = std::abs(static_cast<double>(c[i]) - y[i]);
    const double share = bound[i] > 0 ? error / bound[i] : error > 0 ? 2.0 : 0.0;
    if (!(error <= bound[i])) row.correct = false;  // NaN, an element that nobody wrote, too
    if (share <= worst) continue;
    worst = std::isnan(share) ? std::numeric_limits<double>::infinity() : share;
    row.worst_error = error;
    row.bound = bound[i];
  }
}

void CudaLayer::check_product(const billfish_gemm_args& args, BenchRow& row, std::int64_t whole) {
  const int device = options_.device.index;
  const std::int64_t m = args.m, n = shape_.n, k = shape_.k;
  if (m == 0) return;
  const float poison = std::numeric_limits<float>::quiet_NaN();
  check(billfish_tools_cuda_fill_uniform(device, c_.data(), options_.act, m * n, poison, poison, 1, nullptr), shape_.label);
  prepare_reference(m <= whole ? std::min(whole, most_m_) : 0);
  check(billfish_gemm(&weights_[0], &args, nullptr), shape_.label);
  check(billfish_tools_cuda_synchronize(device), shape_.label);
  const auto bounds_of = [&](const std::vector<double>& y, const std::vector<double>& magnitude, std::int64_t count) {
    std::vector<double> bound(static_cast<std::size_t>(count));
    check(billfish_tools_bound(&weights_[0], &args, BILLFISH_CUDA, y.data(), magnitude.data(), count, bound.data()), shape_.label);
    return bound;
  };
  if (m <= whole) {
    const std::string bound_of = std::to_string(m) + " " + row.plan;
    if (bound_of != bound_of_) bound_ = bounds_of(y_, magnitude_, m * n);
    bound_of_ = bound_of;
    std::vector<std::uint16_t> raw(static_cast<std::size_t>(m * n));
    c_.download(raw.data(), m * n * 2);
    std::vector<float> c(raw.size());
    billfish_tools_to_f32(raw.data(), options_.act, c.data(), m * n);
    compare(c, y_, bound_, row);
    return;
  }
  // Row i of the sample lies in the i-th of 4,096 strips of rows, its column in a strip drawn at random: every place is as likely.
  Random random(options_.seed + static_cast<std::uint64_t>(m));
  std::vector<std::int32_t> rows, columns;
  std::vector<std::int64_t> strips(kSamples);
  std::iota(strips.begin(), strips.end(), 0);
  for (std::size_t i = strips.size() - 1; i > 0; --i) std::swap(strips[i], strips[random.bits() % (i + 1)]);
  const auto place = [&](std::int64_t strip, std::int64_t size) {
    const std::int64_t begin = size * strip / kSamples, end = std::max(begin + 1, size * (strip + 1) / kSamples);
    return static_cast<std::int32_t>(begin + static_cast<std::int64_t>(random.bits() % static_cast<std::uint64_t>(end - begin)));
  };
  for (std::int64_t i = 0; i < kSamples; ++i) {
    rows.push_back(place(i, m));
    columns.push_back(place(strips[static_cast<std::size_t>(i)], n));
  }
  DeviceBuffer row_memory(options_.device, kSamples * 4), column_memory(options_.device, kSamples * 4);
  const DeviceBuffer y(options_.device, kSamples * 8), magnitude(options_.device, kSamples * 8), c(options_.device, kSamples * 4);
  row_memory.upload(rows.data(), kSamples * 4);
  column_memory.upload(columns.data(), kSamples * 4);
  const auto* row_list = static_cast<const std::int32_t*>(row_memory.data());
  const auto* column_list = static_cast<const std::int32_t*>(column_memory.data());
  check(billfish_tools_cuda_product(device, a_.data(), options_.act, m, k, static_cast<const float*>(exact_.data()), n, k, row_list,
                                    column_list, kSamples, static_cast<double*>(y.data()), static_cast<double*>(magnitude.data()), nullptr),
        shape_.label);
  check(billfish_tools_cuda_gather(device, c_.data(), options_.act, n, row_list, column_list, kSamples, static_cast<float*>(c.data()),
                                   nullptr),
        shape_.label);
  std::vector<double> y_host(kSamples), magnitude_host(kSamples);
  std::vector<float> c_host(kSamples);
  y.download(y_host.data(), kSamples * 8);
  magnitude.download(magnitude_host.data(), kSamples * 8);
  c.download(c_host.data(), kSamples * 4);
  compare(c_host, y_host, bounds_of(y_host, magnitude_host, kSamples), row);
}

}  // namespace billfish::cli
